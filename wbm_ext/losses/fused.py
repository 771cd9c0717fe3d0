"""A whole loss of a batch as one call of the CPU kernels, forward and backward: ``csrc/cpu/loss/group_loss.h``.

A training step on some hundred samples spends more time around the solve than in it. Where nothing looks into the loss
(the compiler, ``torch.func``, dispatch modes, subclasses, other devices) and nothing is unusual about its arguments,
masses, cost and solve are one call, and so is the gradient, which needs no matrix of the size of D. Else these
functions return None, and the operations of ``balancing`` and ``escfr`` compute the same: they say what is wrong with
arguments, and a second derivative goes through them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wbm_ext._native import BACKEND, core
from wbm_ext.losses.discrepancy import warn_of_sizes
from wbm_ext.losses.masses import propensity_bounds
from wbm_ext.losses.options import AGAINST, MASSES
from wbm_ext.solver.autograd import FAITHFUL, warn_of_backward
from wbm_ext.solver.checks import is_followed, is_transformed
from wbm_ext.solver.kernels import in_memory
from wbm_ext.solver.problem import GRADIENTS, METHODS, REFERENCES

_NAN = float("nan")
MOST_OPERATIONS = 1 << 25  # multiply-adds of a cost matrix; a loss of more is not held up by its operations
_DIFFERENTIABLE = ("implicit", "frozen")
Composed = Callable[..., Tensor]


class Solved(NamedTuple):
    """A loss, connected to its graph, and its plan's mass and marginal residual."""

    value: Tensor
    transported_mass: float | Tensor
    residual: float | Tensor


def _takes(*tensors: Tensor) -> bool:
    if BACKEND != "native" or is_transformed(*tensors):
        return False
    return all(map(_dense, tensors))


def _dense(x: Tensor) -> bool:
    return x.is_cpu and x.layout is torch.strided and not x.is_neg()


def _number(value: object) -> bool:
    return type(value) is float or type(value) is int


def _solve_numbers(
    epsilon: Any, kappa: Any, reference: str, tol: Any, max_iter: Any, grad: str
) -> tuple[Any, ...] | None:
    """The options of a solve as ``csrc/binding/losses.cpp`` takes them, but for the last; None where unusual."""
    rows, columns = kappa if type(kappa) is tuple and len(kappa) == 2 else (kappa, kappa)
    if not (
        (epsilon is None or (_number(epsilon) and 0 < epsilon < math.inf))
        and (_number(rows) and rows > 0 and _number(columns) and columns > 0)
        and (_number(tol) and 0 < tol < math.inf)
        and (type(max_iter) is int and max_iter > 0)
        and grad in _DIFFERENTIABLE
        and reference in REFERENCES
    ):
        return None
    return (
        METHODS["auto"], tol, max_iter, _NAN if epsilon is None else epsilon, rows, columns,
        REFERENCES[reference], GRADIENTS[grad], torch.get_num_threads(),
    )  # fmt: skip


def _again(
    composed: Composed, inputs: tuple[Tensor | None, ...], needs: tuple[bool, ...], upstream: Tensor
) -> list[Tensor | None]:
    """The gradients in operations that can be differentiated again."""
    with torch.enable_grad():
        # the upstream gradient depends on the inputs too, and is not to be differentiated here
        leaves = [
            x if x is None else x.view_as(x) if needed else x.detach() for x, needed in zip(inputs, needs, strict=True)
        ]
        wanted = [x for x, needed in zip(leaves, needs, strict=True) if x is not None and needed]
        found = iter(torch.autograd.grad(composed(*leaves), wanted, upstream, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in needs]


def _warn_of_residual(residual: float, tol: float) -> None:
    limit = max(tol, FAITHFUL)
    if residual > limit:
        warn_of_backward(residual, limit)


class _Fused(NamedTuple):
    """What the graph keeps of a loss: the solved problem, and the same loss in operations of torch."""

    loss: Any
    treated: Tensor
    tol: float
    composed: Composed


class _Balance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        q, phi, ctx.fused, value = inputs
        ctx.save_for_backward(q, phi, ctx.fused.treated)
        return value.pop()

    @staticmethod
    def backward(ctx: Any, *upstreams: Any) -> tuple[Tensor | None, ...]:
        q, phi, treated = ctx.saved_tensors
        fused, (by_q, by_phi, *_), (upstream,) = ctx.fused, ctx.needs_input_grad, upstreams
        if torch.is_grad_enabled() or is_followed(upstream):
            inputs, needs = (q, treated, phi), (by_q, False, by_phi)
            d_q, _, d_phi = _again(fused.composed, inputs, needs, upstream)
            return d_q, d_phi, None, None
        q, phi = q.contiguous(), phi.contiguous() if phi.stride(1) != 1 else phi
        upstream = in_memory("an upstream gradient", upstream, q.dtype)
        d_q = torch.empty_like(q) if by_q else None
        d_phi = torch.empty(phi.shape, dtype=phi.dtype, device="cpu") if by_phi else None
        residual = core.cpu_balance_gradient(
            fused.loss, q.data_ptr(), phi.data_ptr(), phi.stride(0), upstream.data_ptr(),
            0 if d_q is None else d_q.data_ptr(), 0 if d_phi is None else d_phi.data_ptr(),
        )  # fmt: skip
        _warn_of_residual(residual, fused.tol)
        return d_q, d_phi, None, None


def balance_value(tensors: tuple[Any, ...], options: dict[str, Any], composed: Composed) -> Tensor | None:
    """WBM of a batch: see :func:`wbm_ext.losses.wbm`, whose ``options`` are given in full.

    ``composed`` takes propensity, treatment and representation, and computes the same in operations of torch.
    """
    if len(tensors) != 3:
        return None
    q, treated, phi = tensors
    if not (isinstance(q, Tensor) and isinstance(treated, Tensor) and isinstance(phi, Tensor)):
        return None
    if not _takes(q, treated, phi):
        return None
    masses, against, clip, min_ess = options["masses"], options["against"], options["clip"], options["min_ess"]
    logits, scaled, detached = options["logits"], options["scale_cost"], options["detach_representation"]
    size, kind = q.numel(), q.dtype
    if (
        q.dim() != 1
        or kind not in (torch.float32, torch.float64)
        or treated.dtype != torch.bool
        or treated.shape != q.shape
        or phi.dim() != 2
        or phi.dtype != kind
        or phi.shape[0] != size
        or not 0 < size * size * phi.shape[1] <= MOST_OPERATIONS
        or options["criterion"] != "marginal"
        or masses not in MASSES
        or against not in AGAINST
        or not (_number(clip) and 0 <= clip < 0.5)
        or not (min_ess is None or (_number(min_ess) and 0 <= min_ess <= 1))
        or not (type(logits) is bool and type(scaled) is bool and type(detached) is bool)
    ):
        return None
    solve = _solve_numbers(
        options["epsilon"], options["kappa"], "entropy", options["tol"], options["max_iter"], options["grad"]
    )
    if solve is None:
        return None
    if detached:
        phi = phi.detach()
    q, treated = q.contiguous(), treated.contiguous()
    if phi.stride(1) != 1:
        phi = phi.contiguous()
    wanted = torch.is_grad_enabled() and (q.requires_grad or phi.requires_grad)
    value = torch.empty((), dtype=kind, device="cpu")
    low, high = propensity_bounds(clip, logits)
    loss, count, ess_treated, ess_other, _, _ = core.cpu_balance_loss(
        q.data_ptr(), treated.data_ptr(), size, (phi.data_ptr(), phi.stride(0), phi.shape[1]),
        (kind == torch.float64, logits, masses == "softmax", low, high, against == "all", scaled),
        (*solve, wanted), value.data_ptr(),
    )  # fmt: skip
    if loss is None:
        return None
    warn_of_sizes((ess_treated, ess_other), (count, size if against == "all" else size - count), min_ess)
    if not wanted:
        return value
    return _Balance.apply(q, phi, _Fused(loss, treated, options["tol"], composed), [value])  # type: ignore[no-untyped-call,no-any-return]


class _Outcome(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        r, other, ctx.fused, value = inputs
        ctx.save_for_backward(r, other, ctx.fused.treated)
        return value.pop()

    @staticmethod
    def backward(ctx: Any, *upstreams: Any) -> tuple[Tensor | None, ...]:
        r, other, _ = ctx.saved_tensors
        fused, (by_r, by_other, *_), (upstream,) = ctx.fused, ctx.needs_input_grad, upstreams
        if torch.is_grad_enabled() or is_followed(upstream):
            return *_again(fused.composed, (r, other), (by_r, by_other), upstream), None, None
        upstream = in_memory("an upstream gradient", upstream, r.dtype)
        d_r = torch.empty(r.shape, dtype=r.dtype, device="cpu") if by_r else None
        d_other = torch.empty(other.shape, dtype=r.dtype, device="cpu") if by_other else None
        residual = core.cpu_outcome_gradient(
            fused.loss, upstream.data_ptr(), 0 if d_r is None else d_r.data_ptr(), *_columns(d_other)
        )
        _warn_of_residual(residual, fused.tol)
        return d_r, d_other, None, None


def _columns(values: Tensor | None) -> tuple[int, int, int]:
    """Address and strides of outcomes (B,) or (B, d); 0 for None."""
    if values is None:
        return 0, 0, 0
    return values.data_ptr(), values.stride(0), values.stride(1) if values.dim() == 2 else 0


def outcome_value(
    r: Tensor,
    treated: Tensor,
    outcome: Tensor | None,
    other: Tensor | None,
    *,
    scale: float,
    gamma: float,
    epsilon: object,
    kappa: object,
    reference: str,
    tol: float,
    max_iter: int,
    grad: str,
    composed: Composed,
) -> Solved | None:
    """⟨D, P⟩ of uniform masses on D_ij = s |r_i - r_j|² + γ [|z_i - y_j|² + |z_j - y_i|²], i treated, j not.

    Parameters
    ----------
    r : Tensor, shape (B, k)
    treated : Tensor of bool, shape (B,)
    outcome, other : Tensor, shape (B,) or (B, d)
        y, and z, the predicted outcome of the arm that a sample is not in; not read for γ = 0.
    composed : callable, (r, other) -> Tensor
        The same in operations of torch.
    """
    outcomes: tuple[Tensor, ...] = ()
    if gamma == 0:
        outcome = other = None
    elif outcome is None or other is None:
        return None
    else:
        outcomes = (outcome, other)
    if not _takes(r, treated, *outcomes) or r.dim() != 2:
        return None
    kind, (size, k) = r.dtype, r.shape
    if (
        kind not in (torch.float32, torch.float64)
        or treated.dtype != torch.bool
        or treated.shape != (size,)
        or not 0 < size * size * k <= 4 * MOST_OPERATIONS
        or any(x.dtype != kind or x.dim() not in (1, 2) or len(x) != size or not x.numel() for x in outcomes)
        or (outcome is not None and other is not None and outcome.shape != other.shape)
    ):
        return None
    solve = _solve_numbers(epsilon, kappa, reference, tol, max_iter, grad)
    if solve is None:
        return None
    if r.stride(1) != 1:
        r = r.contiguous()
    d = 0 if outcome is None else outcome.shape[1] if outcome.dim() == 2 else 1
    treated = treated.contiguous()
    wanted = torch.is_grad_enabled() and (r.requires_grad or (other is not None and other.requires_grad))
    value = torch.empty((), dtype=kind, device="cpu")
    loss, _, _, _, mass, residual = core.cpu_outcome_loss(
        (r.data_ptr(), r.stride(0), size, k), treated.data_ptr(), d, _columns(outcome), _columns(other),
        (kind == torch.float64, scale, gamma), (*solve, wanted), value.data_ptr(),
    )  # fmt: skip
    if loss is None:
        return None
    if wanted:
        value = _Outcome.apply(r, other, _Fused(loss, treated, tol, composed), [value])  # type: ignore[no-untyped-call]
    return Solved(value, mass, residual)
