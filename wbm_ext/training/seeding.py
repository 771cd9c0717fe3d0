"""Randomness from one ``random_state``, in named streams, without a look at the global generators.

Each purpose of a fit (splitting, initialisation, batches, ...) has a stream of its own, so that two systems
that share a ``random_state`` share their hold-out, their initial embeddings and the order of their batches
even when one of them draws more numbers than the other: comparisons between systems are paired.
"""

from __future__ import annotations

import math
import secrets
import zlib

import numpy as np
import torch
from torch import nn


class Streams:
    """Independent, named random streams that follow from one ``random_state``.

    Parameters
    ----------
    random_state : int, None or torch.Generator
        A non-negative integer gives the same streams every time; ``None`` gives fresh ones from the operating
        system; a ``torch.Generator`` is asked for 63 bits once (which advances it, and nothing else).

    Raises
    ------
    TypeError
        If ``random_state`` is of another type (booleans included).
    ValueError
        If it is a negative integer.
    """

    def __init__(self, random_state: int | torch.Generator | None = None) -> None:
        self.entropy = _entropy(random_state)

    def _sequence(self, name: str) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.entropy, spawn_key=(zlib.crc32(name.encode()),))

    def torch(self, name: str) -> torch.Generator:
        """Return a new CPU ``torch.Generator`` at the start of stream ``name``."""
        seed = int(self._sequence(name).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator().manual_seed(seed)

    def numpy(self, name: str) -> np.random.Generator:
        """Return a new ``numpy.random.Generator`` at the start of stream ``name``."""
        return np.random.default_rng(self._sequence(name))


def _entropy(random_state: int | torch.Generator | None) -> int:
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, torch.Generator):
        drawn = torch.randint(2**63 - 1, (), generator=random_state, device=random_state.device)
        return int(drawn)
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, int | np.integer):
        kind = type(random_state).__name__
        raise TypeError(f"random_state must be a non-negative int, None or a torch.Generator; got {kind}")
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
