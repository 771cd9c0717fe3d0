"""GeomLoss ``ot.solve``: symmetric, annealed; has no tolerance. Its batch form gives a forward and a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import BatchRun, Run, batch_peer, peer

BATCH_ITERATIONS = 100


@peer("GeomLoss ot.solve", "geomloss", "geomloss", stops=False)
def prepare(problem: Problem, tolerance: float, iterations: int) -> Run:
    from geomloss import ot

    a, b, D = (torch.from_numpy(x) for x in (problem.a, problem.b, problem.D))

    def call() -> Any:
        with torch.no_grad():
            result = ot.solve(D, reg=problem.epsilon, a=a, b=b, max_iter=iterations)
            return result, result.value

    return Run(call, lambda result: result[0].plan.double().numpy())


@batch_peer("GeomLoss ot.solve_batch, 100 iterations", "geomloss", "geomloss", loss="regularized", stops=False)
def prepare_batch(problem: Problem, tolerance: float, iterations: int) -> BatchRun:
    from geomloss import ot

    D = torch.from_numpy(problem.D).requires_grad_()
    a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)

    def call() -> Any:
        D.grad = None
        result = ot.solve_batch(D, reg=problem.epsilon, a=a, b=b, max_iter=BATCH_ITERATIONS)
        result.value.sum().backward()
        return result, D.grad

    def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
        return result[0].plan.detach().double().numpy(), result[1].double().numpy()

    return BatchRun(call, read)
