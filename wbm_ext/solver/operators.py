"""The registered operators: schema, kernel and shape rule of each, one whole solve per call.

``wbm_ext::solve`` runs Sinkhorn on a batch, ``wbm_ext::solve_backward`` its derivative, ``wbm_ext::mean_cost`` the
scale of the default epsilon. All take D as (B, n, m), a (B, n), b (B, m), epsilon (B,), kappa (B, 2); options are the
integers of ``csrc/problem.h``. Users call :func:`wbm_ext.solve`, which checks and shapes arguments. Their derivatives
stand in ``autograd.py``, their rules for vmap and autocast in ``transforms.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.solver import cuda, kernels
from wbm_ext.solver.reference import operators as reference
from wbm_ext.solver.reference.iteration import UNROLLED

_library = torch.library.Library("wbm_ext", "DEF")
_library.define(
    "solve(Tensor cost, Tensor a, Tensor b, Tensor epsilon, Tensor kappa, Tensor? mask, Tensor? init_g, "
    "int reference, int method, int criterion, int gradient, float tol, int max_iter) "
    "-> (Tensor sharp, Tensor regularized, Tensor f, Tensor g, Tensor mass, Tensor residual, "
    "Tensor iterations, Tensor status, Tensor history)",
    tags=torch.Tag.pt2_compliant_tag,
)
_library.define(
    "solve_backward(Tensor grad_sharp, Tensor grad_regularized, Tensor grad_f, Tensor grad_g, Tensor cost, "
    "Tensor a, Tensor b, Tensor epsilon, Tensor kappa, Tensor? mask, Tensor f, Tensor g, Tensor iterations, "
    "Tensor history, int reference, int gradient, int max_iter) "
    "-> (Tensor grad_cost, Tensor grad_a, Tensor grad_b, Tensor residual)",
    tags=torch.Tag.pt2_compliant_tag,
)
_library.define("mean_cost(Tensor cost, Tensor a, Tensor b, Tensor? mask) -> Tensor", tags=torch.Tag.pt2_compliant_tag)

_KERNELS: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "native": {
        "CPU": (kernels.solve_cpu, kernels.solve_backward_cpu, kernels.mean_cost_cpu),
        "CUDA": (cuda.solve_cuda, cuda.solve_backward_cuda, reference.mean_cost),
    },
    "reference": dict.fromkeys(("CPU", "CUDA"), (reference.solve, reference.solve_backward, reference.mean_cost)),
}
for _device, _kernels in _KERNELS[BACKEND].items():
    for _name, _kernel in zip(("solve", "solve_backward", "mean_cost"), _kernels, strict=True):
        _library.impl(_name, _kernel, _device)


@torch.library.register_fake("wbm_ext::solve")
def _(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    init_g: Tensor | None,
    reference: int,
    method: int,
    criterion: int,
    gradient: int,
    tol: float,
    max_iter: int,
) -> kernels.Solved:
    batch, n, m = cost.shape

    def real(*shape: Any) -> Tensor:
        return cost.new_empty(shape, dtype=torch.float64)

    history = real(batch, max_iter + 1, n + m) if gradient == UNROLLED else real(0)
    iterations = cost.new_empty((batch,), dtype=torch.int64)
    status = cost.new_empty((batch,), dtype=torch.int32)
    sharp, regularized = (cost.new_empty((batch,), dtype=kernels.computed_in(cost.dtype)) for _ in range(2))
    return (
        sharp, regularized, real(batch, n), real(batch, m), real(batch), real(batch), iterations, status, history
    )  # fmt: skip


@torch.library.register_fake("wbm_ext::solve_backward")
def _(
    grad_sharp: Tensor,
    grad_regularized: Tensor,
    grad_f: Tensor,
    grad_g: Tensor,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    f: Tensor,
    g: Tensor,
    iterations: Tensor,
    history: Tensor,
    reference: int,
    gradient: int,
    max_iter: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        cost.new_empty(cost.shape),
        a.new_empty(a.shape),
        b.new_empty(b.shape),
        cost.new_empty((cost.shape[0],), dtype=torch.float64),
    )


@torch.library.register_fake("wbm_ext::mean_cost")
def _(cost: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    return cost.new_empty((cost.shape[0],), dtype=torch.float64)
