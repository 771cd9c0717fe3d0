"""This solver, called the way the peers are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

import wbm_ext
from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import BatchRun, Run

OURS = "wbm_ext"


def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu", method: str = "auto") -> Run:
    """Solve without gradient; with tolerance 0 exactly so many plain iterations."""
    a, b, D = tensors(problem, device)
    method = "sinkhorn" if tolerance == 0 else method

    def call() -> Any:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return wbm_ext.solve(
                D, a, b, epsilon=problem.epsilon, tol=tolerance, max_iter=iterations, method=method
            )  # fmt: skip

    return Run(call, lambda result: float64(result.plan))


def prepare_batch(
    problem: Problem, tolerance: float, iterations: int, device: str = "cpu", loss: str = "sharp"
) -> BatchRun:
    """Forward and backward of the summed loss over a batch."""
    a, b, D = tensors(problem, device)
    D.requires_grad_()

    def call() -> Any:
        D.grad = None
        result = wbm_ext.solve(D, a, b, epsilon=problem.epsilon, tol=tolerance, max_iter=iterations)
        (result.cost if loss == "sharp" else result.regularized_cost).sum().backward()
        return result, D.grad

    def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
        return float64(result[0].plan), float64(result[1])

    return BatchRun(call, read)
