"""RegOT in native code on the CPU, float64: sparse Newton (SSNS) and sparse-plus-low-rank quasi-Newton (SPLR).

Each method stops by the norm of its dual gradient, the marginal's error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import ON_CPU, Run, peer


def _with(method: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        import regot

        solve, M = getattr(regot, method), np.asfortranarray(problem.D, dtype=np.float64)
        a, b = problem.a.astype(np.float64), problem.b.astype(np.float64)

        def call() -> Any:
            return solve(M, a, b, problem.epsilon, tol=tolerance, max_iter=iterations)

        return Run(call, lambda result: np.asarray(result.plan))

    return prepare


for _name in ("SSNS", "SPLR"):
    peer(f"RegOT {_name}", "regot", "regot", counts=False, devices=ON_CPU)(_with(f"sinkhorn_{_name.lower()}"))
