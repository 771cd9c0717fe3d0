"""POT's ``ot.batch``: the forward of a batch, and ``solve_batch`` in every mode that has a gradient.

The check decides which gradients are true. The scaling iterations of POT 0.9.7 make their start vectors on the CPU
whatever the device, so their forward is called by its parts, with a backend that makes them where the cost is; with a
gradient they run on the CPU only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import ON_BOTH, ON_CPU, BatchRun, Run, batch_peer, peer


def _backend(D: torch.Tensor) -> Any:
    """POT's torch backend whose new arrays have the type and place of ``D``."""
    from ot.backend import TorchBackend

    class Here(TorchBackend):
        def ones(self, shape: Any, type_as: torch.Tensor | None = None) -> torch.Tensor:
            return super().ones(shape, D if type_as is None else type_as)

    return Here()


def _forward(method: str) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        from ot.batch import bregman_log_projection_batch, bregman_projection_batch

        a, b, D = tensors(problem, device)
        nx = _backend(D)

        def call() -> Any:
            with torch.no_grad():
                K = -D / problem.epsilon
                how = {"nx": nx, "max_iter": iterations, "tol": tolerance, "grad": "detach"}
                if method == "sinkhorn":
                    return bregman_projection_batch(K.exp(), a, b, **how)["T"]
                return bregman_log_projection_batch(K, a, b, **how)["T"]

        return Run(call, float64)

    return prepare


def _with_gradient(method: str, grad: str, loss: str) -> Callable[..., BatchRun]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> BatchRun:
        from ot.batch import solve_batch

        a, b, D = tensors(problem, device)
        D.requires_grad_()

        def call() -> Any:
            D.grad = None
            result = solve_batch(
                D, problem.epsilon, a, b, max_iter=iterations, tol=tolerance, method=method, grad=grad
            )  # fmt: skip
            (result.value_linear if loss == "sharp" else result.value).sum().backward()
            return result.plan, D.grad

        def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
            return float64(result[0]), float64(result[1])

        return BatchRun(call, read)

    return prepare


for _method in ("sinkhorn", "log_sinkhorn"):
    peer(f"POT batch, {_method}", "pot", "ot.batch", order="rows", single=False, many=True)(_forward(_method))
for _loss, _grads in (("sharp", ("autodiff", "last_step")), ("regularized", ("envelope", "last_step"))):
    for _method, _devices in (("sinkhorn", ON_CPU), ("log_sinkhorn", ON_BOTH)):
        for _grad in _grads:
            batch_peer(f"POT solve_batch, {_method}, {_grad}", "pot", "ot.batch", loss=_loss, devices=_devices)(
                _with_gradient(_method, _grad, _loss)
            )
