"""The registered operators: schema, kernel, shape rule and derivative of each, one whole solve per call.

``wbm_ext::solve`` runs Sinkhorn on a batch, ``wbm_ext::solve_backward`` its derivative, ``wbm_ext::mean_cost`` the
scale of the default epsilon. All take D as (B, n, m), a (B, n), b (B, m), epsilon (B,), kappa (B, 2); options are the
integers of ``csrc/problem.h``. Users call :func:`wbm_ext.solve`, which checks and shapes arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext.solver import native, reference
from wbm_ext.solver.reference_gradient import implicit_gradient

IMPLICIT, FROZEN, UNROLLED = 0, 1, 2

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

_library.impl("solve", native.solve_cpu, "CPU")
_library.impl("solve", native.solve_cuda, "CUDA")
_library.impl("solve_backward", native.solve_backward_cpu, "CPU")
_library.impl("mean_cost", native.mean_cost_cpu, "CPU")
_library.impl("mean_cost", reference.mean_cost, "CUDA")


def _solve_backward_reference(
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
    """The derivative in plain torch, for devices whose kernel is not written yet."""
    if gradient == UNROLLED:
        raise NotImplementedError("grad='unrolled' is not available on CUDA yet; use grad='implicit'")
    if gradient == FROZEN:
        plan, _ = reference_terms(cost, a, b, epsilon, kappa, mask, reference).plan(f, g)
        grad_cost = (plan * (grad_sharp + grad_regularized).double()[:, None, None]).to(cost.dtype)
        return grad_cost, torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(epsilon)
    grads = implicit_gradient(
        grad_sharp, grad_regularized, grad_f, grad_g, cost, a, b, epsilon, kappa, mask, f, g, reference
    )
    return (*grads, torch.zeros_like(epsilon))


reference_terms = reference.terms
_library.impl("solve_backward", _solve_backward_reference, "CUDA")


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
) -> native.Solved:
    batch, n, m = cost.shape

    def real(*shape: Any) -> Tensor:
        return cost.new_empty(shape, dtype=torch.float64)

    history = real(batch, max_iter + 1, n + m) if gradient == UNROLLED else real(0)
    iterations = cost.new_empty((batch,), dtype=torch.int64)
    status = cost.new_empty((batch,), dtype=torch.int32)
    sharp, regularized = cost.new_empty((batch,)), cost.new_empty((batch,))
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


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cost, a, b, epsilon, kappa, mask, _, kind, _, _, gradient, _, max_iter = inputs
    _, _, f, g, mass, residual, iterations, status, history = output
    ctx.mark_non_differentiable(mass, residual, iterations, status, history)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, a, b, epsilon, kappa, mask, f, g, iterations, history)
    ctx.options = (kind, gradient, max_iter)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    cost, a, b, epsilon, kappa, mask, f, g, iterations, history = ctx.saved_tensors
    kind, gradient, max_iter = ctx.options
    like = (cost[:, 0, 0], cost[:, 0, 0], f, g)
    sharp, regularized, q_f, q_g = (
        torch.zeros_like(x) if d is None else d for d, x in zip(grads[:4], like, strict=True)
    )
    if torch.is_grad_enabled() and gradient == IMPLICIT:
        # create_graph=True: the same formulas in operations that can be differentiated again.
        d_cost, d_a, d_b = implicit_gradient(sharp, regularized, q_f, q_g, cost, a, b, epsilon, kappa, mask, f, g, kind)
    else:
        d_cost, d_a, d_b, _ = torch.ops.wbm_ext.solve_backward(
            sharp, regularized, q_f, q_g, cost, a, b, epsilon, kappa, mask, f, g, iterations, history, kind,
            gradient, max_iter,
        )  # fmt: skip
    return d_cost, d_a, d_b, *[None] * 10


def _no_second_derivative(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    raise NotImplementedError(
        "the second derivative of grad='unrolled' and grad='frozen' is not available; use grad='implicit'"
    )


torch.library.register_autograd("wbm_ext::solve", _differentiate, setup_context=_save)
torch.library.register_autograd("wbm_ext::solve_backward", _no_second_derivative)
