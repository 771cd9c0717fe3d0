"""Randomness from one ``random_state``, in named streams, without a look at the global generators.

Each purpose of a fit (splitting, initialisation, batches, ...) has a stream of its own, so that two systems
that share a ``random_state`` share their hold-out, their initial embeddings and the order of their batches
even when one of them draws more numbers than the other: comparisons between systems are paired.
"""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from wbm_ext.training.distributed import from_first

Seed = int | torch.Generator | np.random.Generator | np.random.RandomState | None


class Streams:
    """Independent, named random streams that follow from one ``random_state``.

    It remembers the generators it has handed out, so that ``state_dict`` and ``load_state_dict`` (of a checkpoint) hold
    where each of them stands. A stream that is asked for only later then starts where the checkpoint has it.

    Parameters
    ----------
    random_state : int, None or generator
        A non-negative integer gives the same streams every time; ``None`` gives fresh ones from the operating
        system; a ``torch.Generator``, ``numpy.random.Generator`` or ``RandomState`` is asked for 63 bits once (which
        advances it, and nothing else).

    Raises
    ------
    TypeError
        If ``random_state`` is of another type (booleans included).
    ValueError
        If it is a negative integer.
    """

    def __init__(self, random_state: Seed = None) -> None:
        # fresh entropy must be the same on all ranks: they draw the same batches
        entropy = _entropy(random_state)
        self.entropy = from_first(entropy) if random_state is None else entropy
        self._handed_out: dict[str, torch.Generator | np.random.Generator] = {}
        self._waiting: dict[str, Any] = {}

    def _sequence(self, name: str) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.entropy, spawn_key=(zlib.crc32(name.encode()),))

    def torch(self, name: str) -> torch.Generator:
        """Return a new CPU ``torch.Generator`` at the start of stream ``name``."""
        seed = int(self._sequence(name).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return self._hand_out("torch", name, torch.Generator().manual_seed(seed))

    def numpy(self, name: str) -> np.random.Generator:
        """Return a new ``numpy.random.Generator`` at the start of stream ``name``."""
        return self._hand_out("numpy", name, np.random.default_rng(self._sequence(name)))

    def state_dict(self) -> dict[str, Any]:
        """Return where each generator that was handed out stands."""
        states = {key: state_accessor(key, generator)[0]() for key, generator in self._handed_out.items()}
        return {"entropy": self.entropy, "generators": {**self._waiting, **states}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the generators that were handed out, and those that will be, to where ``state`` has them.

        Raises
        ------
        ValueError
            If ``state`` is of another ``random_state``.
        """
        if state["entropy"] != self.entropy:
            raise ValueError(f"these streams follow from {self.entropy}, the saved ones from {state['entropy']}")
        self._waiting = dict(state["generators"])
        for key, generator in self._handed_out.items():
            if key in self._waiting:
                state_accessor(key, generator)[1](self._waiting.pop(key))

    def _hand_out(self, kind: str, name: str, generator: Any) -> Any:
        number = 0
        while (key := f"{kind} {name} {number}") in self._handed_out:
            number += 1
        if key in self._waiting:
            state_accessor(key, generator)[1](self._waiting.pop(key))
        self._handed_out[key] = generator
        return generator


def state_accessor(name: str, source: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Return the functions that get and put the state of ``source``.

    Raises
    ------
    TypeError
        If it is no generator and has no ``state_dict`` and ``load_state_dict`` (or ``get_state`` and ``set_state``).
    """
    if isinstance(source, np.random.Generator):
        return (lambda: source.bit_generator.state), (lambda state: setattr(source.bit_generator, "state", state))
    for get, put in (("state_dict", "load_state_dict"), ("get_state", "set_state")):
        if hasattr(source, get) and hasattr(source, put):
            return getattr(source, get), getattr(source, put)
    raise TypeError(
        f"state[{name!r}] must be a torch.Generator, a numpy.random.Generator or have state_dict and load_state_dict; "
        f"got {type(source).__name__}"
    )


def _entropy(random_state: Seed) -> int:
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, torch.Generator):
        drawn = torch.randint(2**63 - 1, (), generator=random_state, device=random_state.device)
        return int(drawn)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**63 - 1, dtype=np.int64))
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, int | np.integer):
        kind = type(random_state).__name__
        raise TypeError(f"random_state must be a non-negative int, None or a generator of torch or numpy; got {kind}")
    if random_state < 0:
        raise ValueError(f"random_state must be at least 0; got {random_state}")
    return int(random_state)


@torch.no_grad()
def initialise_normal(parameter: torch.Tensor, scale: float, generator: torch.Generator) -> None:
    """Fill ``parameter`` (any shape) with N(0, ``scale``^2) from ``generator``."""
    drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    parameter.copy_(scale * drawn)


@torch.no_grad()
def initialise_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Fill weight (out, in) and bias (out,) with U(-1/sqrt(in), 1/sqrt(in)), as torch does."""
    bound = 1.0 / math.sqrt(layer.in_features)
    for parameter in layer.parameters():
        drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_(bound * (2.0 * drawn - 1.0))
