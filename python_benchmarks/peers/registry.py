"""What a peer is to this benchmark, and which peers are here.

A peer is one function that gets a problem, a tolerance, a number of iterations and a device, does everything that need
not be timed (conversion, transfer, compilation) and returns a :class:`Run`. Tolerance 0 asks for exactly so many
iterations.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ON_BOTH = ("cpu", "cuda")
ON_CPU, ON_CUDA = ON_BOTH[:1], ON_BOTH[1:]


@dataclass(frozen=True)
class Run:
    """A prepared call. ``plan`` turns what it returned into the plan, float64, outside the timed part."""

    call: Callable[[], Any]
    plan: Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class BatchRun:
    """A prepared forward and backward of a batch. ``read``: (plan, gradient in D) of what the call returned."""

    call: Callable[[], Any]
    read: Callable[[Any], tuple[np.ndarray, np.ndarray]]


def installed(module: str) -> bool:
    """Whether the module can be found; "a.b" asks for a first, which may be missing."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class Peer:
    """A way to solve, under one name.

    Attributes
    ----------
    name, package, module : str
        Name in tables, distribution on the package index, module to import.
    prepare : (Problem, tolerance, iterations, device) -> Run or BatchRun
        The tolerance is in the peer's own measure; the device is "cpu" (default) or "cuda".
    order : "rows" | "columns" | ""
        For plain Sinkhorn iterations the side that is updated first; "" for any other scheme.
    counts : bool
        Takes a number of iterations.
    stops : bool
        Has a tolerance. Otherwise its result after ``iterations`` is all that can be asked for.
    loss : str
        Of a batch peer: "sharp" (⟨D, P⟩) or "regularized".
    python : tuple
        Least Python version.
    devices : tuple
        Of "cpu", "cuda": where it runs.
    single, many : bool
        Takes one problem (n, m); a batch of them (B, n, m).
    hindered : device -> str
        A further reason why it cannot run there, nothing where it can; asked only where it is installed.
    """

    name: str
    package: str
    module: str
    prepare: Callable[..., Any]
    order: str = ""
    counts: bool = True
    stops: bool = True
    loss: str = ""
    python: tuple[int, int] = (3, 11)
    devices: tuple[str, ...] = ON_BOTH
    single: bool = True
    many: bool = False
    hindered: Callable[[str], str] | None = None

    def absent(self, device: str = "cpu") -> str:
        """Why this peer is left out on that device, nothing where it is here."""
        if device not in self.devices:
            return f"{self.package} runs on {'CUDA' if self.devices == ON_CUDA else 'the CPU'} only"
        if sys.version_info < self.python:
            return f"{self.package} needs Python {self.python[0]}.{self.python[1]} or later"
        if not installed(self.module):
            return f"{self.package} is not installed"
        return self.hindered(device) if self.hindered else ""


SINGLE: list[Peer] = []  # forward on a given cost
BATCH: list[Peer] = []  # forward and backward of a batch
POINTS: list[Peer] = []  # forward on two point clouds


def _registering(peers: list[Peer]) -> Callable[..., Callable]:
    def decorator(name: str, package: str, module: str, **options: Any) -> Callable:
        def register(prepare: Callable) -> Callable:
            peers.append(Peer(name, package, module, prepare, **options))
            return prepare

        return register

    return decorator


peer = _registering(SINGLE)
batch_peer = _registering(BATCH)
point_peer = _registering(POINTS)
