"""FlashSinkhorn: alternating updates on two point clouds, the cost computed again in every pass. Triton, CUDA only.

Its tolerance is the largest change of a potential in ten iterations, in units of the cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from python_benchmarks.peers.arrays import float64
from python_benchmarks.peers.clouds import Clouds
from python_benchmarks.peers.registry import ON_CUDA, Run, point_peer

TEST_EVERY = 10


def _with(tf32: bool) -> Callable[..., Run]:
    def prepare(problem: Clouds, tolerance: float, iterations: int, device: str = "cuda") -> Run:
        from flash_sinkhorn.sinkhorn_solvers import sinkhorn_flashstyle_alternating as solve

        x, y, a, b = (torch.from_numpy(z).to(device) for z in (problem.x, problem.y, problem.a, problem.b))
        threshold = tolerance * problem.epsilon if tolerance > 0 else None

        def call() -> Any:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return solve(x, y, a, b, eps=problem.epsilon, n_iters=iterations, allow_tf32=tf32,
                             threshold=threshold, check_every=TEST_EVERY, ott_convention=True)  # fmt: skip

        def plan(potentials: Any) -> np.ndarray:
            f, g = (float64(z) for z in potentials)
            return np.exp((f[:, None] + g[None, :] - problem.D.astype(np.float64)) / problem.epsilon)

        return Run(call, plan)

    return prepare


point_peer("FlashSinkhorn, TF32", "flash-sinkhorn", "flash_sinkhorn", devices=ON_CUDA)(_with(True))
point_peer("FlashSinkhorn, float32", "flash-sinkhorn", "flash_sinkhorn", devices=ON_CUDA)(_with(False))
