"""torchmatch ``transport.matrix.solve``: log-domain loop of a given length, no tolerance.

Written from its documentation; it needs Python 3.13, so it takes no part where this project is developed.
"""

from __future__ import annotations

from typing import Any

import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import Run, peer


@peer("torchmatch", "torchmatch", "torchmatch", stops=False, python=(3, 13))
def prepare(problem: Problem, tolerance: float, iterations: int) -> Run:
    import torchmatch

    a, b, D = (torch.from_numpy(x) for x in (problem.a, problem.b, problem.D))

    def call() -> Any:
        with torch.no_grad():
            return torchmatch.transport.matrix.solve(D, reg=problem.epsilon, n_iter=iterations, a=a, b=b)

    return Run(call, lambda log_plan: log_plan.double().exp().numpy())
