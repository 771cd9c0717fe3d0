"""POT: ``ot.sinkhorn`` on numpy arrays and on torch tensors. Stops on the 2-norm of the column marginal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import ON_CPU, Run, peer


def _run(arrays: tuple[Any, ...], method: str, epsilon: float, tolerance: float, iterations: int) -> Run:
    import ot

    a, b, D = arrays

    def call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ot.sinkhorn(
                a, b, D, epsilon, method=method, numItermax=iterations, stopThr=tolerance, warn=False
            )  # fmt: skip

    return Run(call, lambda plan: float64(torch.as_tensor(plan)))


def _with_numpy(method: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        return _run((problem.a, problem.b, problem.D), method, problem.epsilon, tolerance, iterations)

    return prepare


def _with_torch(method: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        return _run(tensors(problem, device), method, problem.epsilon, tolerance, iterations)

    return prepare


for _method in ("sinkhorn", "sinkhorn_stabilized", "sinkhorn_log"):
    peer(f"POT {_method}, numpy", "pot", "ot", order="columns", devices=ON_CPU)(_with_numpy(_method))
for _method in ("sinkhorn", "sinkhorn_log"):
    peer(f"POT {_method}, torch", "pot", "ot", order="columns")(_with_torch(_method))
