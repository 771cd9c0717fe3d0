"""What a peer is to this benchmark, and which peers are here.

A peer is one function that gets a problem, a tolerance and a number of iterations, does everything that need not be
timed (conversion, compilation) and returns a :class:`Run`. Tolerance 0 asks for exactly so many iterations.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from python_benchmarks._problems import Problem


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


@dataclass(frozen=True)
class Peer:
    """A way to solve, under one name.

    Attributes
    ----------
    name, package, module : str
        Name in tables, distribution on the package index, module to import.
    prepare : (Problem, tolerance, iterations) -> Run or BatchRun
        The tolerance is in the peer's own measure.
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
    """

    name: str
    package: str
    module: str
    prepare: Callable[[Problem, float, int], Any]
    order: str = ""
    counts: bool = True
    stops: bool = True
    loss: str = ""
    python: tuple[int, int] = (3, 11)

    def absent(self) -> str:
        """Why this peer is left out, nothing where it is here."""
        if sys.version_info < self.python:
            return f"{self.package} needs Python {self.python[0]}.{self.python[1]} or later"
        if importlib.util.find_spec(self.module) is None:
            return f"{self.package} is not installed"
        return ""


SINGLE: list[Peer] = []
BATCH: list[Peer] = []


def peer(name: str, package: str, module: str, **options: Any) -> Callable:
    """Register the decorated ``prepare`` as a peer for single problems."""

    def register(prepare: Callable) -> Callable:
        SINGLE.append(Peer(name, package, module, prepare, **options))
        return prepare

    return register


def batch_peer(name: str, package: str, module: str, **options: Any) -> Callable:
    """Register the decorated ``prepare`` as a peer for batches with gradient."""

    def register(prepare: Callable) -> Callable:
        BATCH.append(Peer(name, package, module, prepare, **options))
        return prepare

    return register
