"""GeomLoss ``ot.solve``: symmetric, annealed; has no tolerance. Its batch form gives a forward and a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import BatchRun, Run, batch_peer, peer

BATCH_ITERATIONS = 100


def _forward(name: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        from geomloss import ot

        solve, (a, b, D) = getattr(ot, name), tensors(problem, device)

        def call() -> Any:
            with torch.no_grad():
                result = solve(D, reg=problem.epsilon, a=a, b=b, max_iter=iterations)
                return result, result.value

        return Run(call, lambda result: float64(result[0].plan))

    return prepare


peer("GeomLoss ot.solve", "geomloss", "geomloss", stops=False)(_forward("solve"))
peer("GeomLoss ot.solve_batch", "geomloss", "geomloss", stops=False, single=False, many=True)(_forward("solve_batch"))


@batch_peer("GeomLoss ot.solve_batch, 100 iterations", "geomloss", "geomloss", loss="regularized", stops=False)
def prepare_batch(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> BatchRun:
    from geomloss import ot

    a, b, D = tensors(problem, device)
    D.requires_grad_()

    def call() -> Any:
        D.grad = None
        result = ot.solve_batch(D, reg=problem.epsilon, a=a, b=b, max_iter=BATCH_ITERATIONS)
        result.value.sum().backward()
        return result, D.grad

    def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
        return float64(result[0].plan), float64(result[1])

    return BatchRun(call, read)
