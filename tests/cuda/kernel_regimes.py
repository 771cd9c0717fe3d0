"""Devices on which small problems take each path of the CUDA solver, and solved problems whose gradients are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernel_cases import KAPPAS, SINKHORN, Case, make
from kernel_shims import Backward, ForwardShim, check, solve_on_cpu

BLOCK, CLUSTER, GRID, LAUNCHES, REGISTERS = range(5)
IMPLICIT, FROZEN, UNROLLED = 0, 1, 2
SMALL, LARGE, WIDE = (13, 21), (31, 28), (22, 37)  # one block solves the system; a team of blocks, either side kept

# Regime, blocks a problem (2 problems), whether the kernel matrix is stored.
PATHS = {
    "block": (BLOCK, 1, True),
    "block_streamed": (BLOCK, 1, False),
    "cluster": (CLUSTER, 4, True),
    "grid": (GRID, 4, True),
    "two_groups": (GRID, 2, False),
}


def device(case: Case, path: str, kept: int = 0) -> tuple[int, int, int, bool]:
    """The smallest device that takes a case of some 4,096 entries down that path, with room to keep so many rows."""
    _, n, m = case.shape
    regime, blocks, stored = PATHS[path]
    threads = 512 if m > 256 else 128
    fixed, window = 4096 + threads // 32 * 128 * 8, (16 + 2 * m) * 8 + 16
    shared = fixed + (0 if regime == GRID else window) + (m * case.cost.itemsize * (1 - (-n // blocks)) + 32) * stored
    if kept:
        shared += (kept + 1) * m * case.cost.itemsize  # and the column sums
    multiprocessors = {"block_streamed": 1, "two_groups": 4}.get(path, blocks)
    return multiprocessors, shared, 4 if regime == CLUSTER else 1, regime == GRID


class Devices:
    """The shim, and a device for each solve."""

    def __init__(self, compiled: ForwardShim) -> None:
        self.shim = compiled

    def take(self, case: Case, path: str, kept: int = 0) -> None:
        self.shim.device(*device(case, path, kept))
        plan = self.shim.plan(case)
        assert (plan[0], plan[1], bool(plan[5])) == PATHS[path]
        assert max(plan[6] // (case.shape[2] * case.cost.itemsize) - 1, 0) == kept

    def solve(self, case: Case, path: str, seed: int = 1, dropped: str = "", kept: int = 0) -> dict[str, np.ndarray]:
        self.take(case, path, kept)
        return self.shim.solve(case, seed, dropped)

    def check(self, case: Case, path: str, iterations: bool = True, kept: int = 0) -> dict[str, np.ndarray]:
        """Float64 sums: what the log domain gives."""
        self.take(case, path, kept)
        return check(self.shim, case, iterations=iterations)


def make_two(**options: object) -> Case:
    return make(**{"batch": 2, **options})


def upstream(case: Case, sharp: float, regularized: float, potentials: float, seed: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch, n, m = case.shape
    shapes = {"grad_sharp": (batch,), "grad_regularized": (batch,), "grad_f": (batch, n), "grad_g": (batch, m)}
    scales = (sharp, regularized, potentials, potentials)
    return {name: s * rng.normal(size=shape) for (name, shape), s in zip(shapes.items(), scales, strict=True)}


def solved(case: Case, mode: int, sharp: float = 1.0, regularized: float = 1.0, potentials: float = 1.0) -> Backward:
    """Solved by the CPU's log-domain path, every iteration kept."""
    out = solve_on_cpu(replace(case, history=True))
    kept = {name: out[name] for name in ("f", "g", "history", "iterations")}
    return Backward(case, mode, kept | upstream(case, sharp, regularized, potentials))


def problem(size: tuple[int, int], kind: str, **options: object) -> Case:
    n, m = size
    settings = {"batch": 2, "tol": 1e-9, "max_iter": 40, "method": SINKHORN} | options
    return make(n=n, m=m, kappa=KAPPAS[kind], **settings)
