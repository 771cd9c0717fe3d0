"""cuRegOT: block coordinate descent (Sinkhorn) and a sparse-plus-low-rank quasi-Newton method, float64, on CUDA only.

It is written against the torch interface of its README; every other type is converted to float64 by it, in the timed
part, for that is what a call costs. Each method stops by a measure of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import ON_CUDA, Run, peer


def _with(method: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cuda") -> Run:
        import curegot

        solve = getattr(curegot.torch, method)
        a, b, D = tensors(problem, device)

        def call() -> Any:
            with torch.no_grad():
                return solve(D.double(), a.double(), b.double(), problem.epsilon, tol=tolerance, max_iter=iterations,
                             verbose=0)  # fmt: skip

        return Run(call, lambda result: float64(result["plan"]))

    return prepare


for _name, _method in (("BCD", "sinkhorn_bcd"), ("SPLR", "sinkhorn_splr")):
    peer(f"cuRegOT {_name}", "curegot", "curegot", devices=ON_CUDA)(_with(_method))
