"""MDOT-TNT: annealed truncated Newton. It has no iteration count and no tolerance but the exponent p of its schedule.

The projection at the last temperature stops at H/γ^p (1-norm, half of it smoothing of the marginals), H the entropy of
the masses, γ the inverse of ε for costs in [0, 1]; p is chosen so that this is the tolerance asked for.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import Run, peer

DEFAULT_P = 1.5


@peer("mdot-tnt", "mdot-tnt", "mdot_tnt", counts=False)
def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
    from mdot_tnt.mdot import mdot

    scale = float(problem.D.max())
    gamma = scale / problem.epsilon
    a, b, C = tensors(replace(problem, D=problem.D / problem.D.dtype.type(scale)), device)
    entropy = math.log(min(len(problem.a), len(problem.b)))
    p = max(math.log(entropy / tolerance) / math.log(gamma), DEFAULT_P) if tolerance > 0 else DEFAULT_P

    def call() -> Any:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mdot(a, b, C, gamma, p=p)

    def plan(result: Any) -> np.ndarray:
        u, v, reached = result[0].double(), result[1].double(), result[2]
        return float64(torch.exp(u[:, None] + v[None, :] - reached * C.double()))

    return Run(call, plan)
