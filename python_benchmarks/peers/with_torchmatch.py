"""torchmatch ``transport.matrix.solve``: log-domain loop of a given length, no tolerance.

Written from its documentation; it needs Python 3.13, so it takes no part where this project is developed.
"""

from __future__ import annotations

from typing import Any

import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import Run, peer


@peer("torchmatch", "torchmatch", "torchmatch", stops=False, python=(3, 13), many=True)
def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
    import torchmatch

    a, b, D = tensors(problem, device)

    def call() -> Any:
        with torch.no_grad():
            return torchmatch.transport.matrix.solve(D, reg=problem.epsilon, n_iter=iterations, a=a, b=b)

    return Run(call, lambda log_plan: float64(log_plan.double().exp()))
