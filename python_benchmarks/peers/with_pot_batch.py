"""POT's ``ot.batch.solve_batch`` in every mode that has a gradient; the check decides which gradients are true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import BatchRun, batch_peer


def _prepare(method: str, grad: str, loss: str) -> Callable[[Problem, float, int], BatchRun]:
    def prepare(problem: Problem, tolerance: float, iterations: int) -> BatchRun:
        from ot.batch import solve_batch

        D = torch.from_numpy(problem.D).requires_grad_()
        a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)

        def call() -> Any:
            D.grad = None
            result = solve_batch(
                D, problem.epsilon, a, b, max_iter=iterations, tol=tolerance, method=method, grad=grad
            )  # fmt: skip
            (result.value_linear if loss == "sharp" else result.value).sum().backward()
            return result.plan, D.grad

        def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
            plan, gradient = (x.detach().double().numpy() for x in result)
            return plan, gradient

        return BatchRun(call, read)

    return prepare


for _loss, _grads in (("sharp", ("autodiff", "last_step")), ("regularized", ("envelope", "last_step"))):
    for _method in ("sinkhorn", "log_sinkhorn"):
        for _grad in _grads:
            batch_peer(f"POT solve_batch, {_method}, {_grad}", "pot", "ot.batch", loss=_loss)(
                _prepare(_method, _grad, _loss)
            )
