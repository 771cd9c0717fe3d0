"""Masses and cost of a batch by the CPU kernels: the numbers of ``masses``, ``groups`` and ``costs`` in a few calls.

A training step on a few hundred samples spends more time between torch's operations than in them. The formulae stand in
``csrc/cpu/loss/points.h``; wherever something looks into the call (the compiler, ``torch.func``, tensor subclasses,
other devices) the operations of torch do the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wbm_ext._native import BACKEND, core
from wbm_ext.losses.groups import Groups
from wbm_ext.losses.masses import clip_propensity, log_weights, propensity_bounds

MOST_OPERATIONS = 1 << 25  # multiply-adds of a cost matrix beyond which torch's matrix product is the faster one


def plain(*tensors: Tensor) -> bool:
    """Nothing but this call looks at the tensors, and they are on the CPU."""
    return (
        BACKEND == "native"
        and all(type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" for x in tensors)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def split(treated: Tensor, *, against: str) -> tuple[Groups, Tensor]:
    """The two groups of a bool tensor (B,), and the samples with the treated ones first."""
    size = len(treated)
    order = torch.empty(size, dtype=torch.int64)
    treated = treated.contiguous()
    count = core.cpu_partition(treated.data_ptr(), size, order.data_ptr())
    columns = torch.arange(size) if against == "all" else order[count:]
    return Groups(order[:count], columns, False, count > 0 and len(columns) > 0), order


class Reweighted(NamedTuple):
    """Masses of the treated and of the others, and what they say about the batch."""

    a: Tensor
    b: Tensor
    ess: tuple[float, float]
    clipped: int
    invalid: int  # first sample whose propensity is none; -1


class _Masses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        q, order, count, options, report = inputs
        masses, logits, clip = options
        low, high = propensity_bounds(clip, logits)
        q = q.contiguous()
        address, index = q.data_ptr(), order.data_ptr()
        found: list[Tensor] = []
        ctx.calls = []
        for other, begin, size in ((False, 0, count), (True, count, len(order) - count)):
            mass = torch.empty(size, dtype=q.dtype)
            how = (q.dtype == torch.float64, logits, masses == "softmax", other, low, high)
            report.append(core.cpu_masses(address, index + 8 * begin, size, how, mass.data_ptr()))
            ctx.calls.append((8 * begin, size, how))
            found.append(mass)
        ctx.save_for_backward(q, order, *found)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        q, order, *found = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(ctx, q, order, upstream), None, None, None, None
        d_q = torch.zeros_like(q)
        for mass, up, (begin, size, how) in zip(found, upstream, ctx.calls, strict=True):
            if up is not None:
                up = up.contiguous()
                core.cpu_masses_gradient(
                    q.data_ptr(), order.data_ptr() + begin, size, how, mass.data_ptr(), up.data_ptr(), d_q.data_ptr()
                )
        return d_q, None, None, None, None


def _differentiable(ctx: Any, q: Tensor, order: Tensor, upstream: tuple[Tensor | None, ...]) -> Tensor:
    """The gradient in operations that can be differentiated again."""
    masses, logits, clip = ctx.options
    with torch.enable_grad():
        own_q = q.view_as(q)  # the upstream gradients depend on q too, and are not to be differentiated here
        bounded = clip_propensity(own_q, clip, logits=logits)
        total = q.new_zeros(())
        for up, (begin, size, how) in zip(upstream, ctx.calls, strict=True):
            if up is None:
                continue
            own = (-bounded if logits else 1 - bounded) if how[3] else bounded
            members = order[begin // 8 : begin // 8 + size]
            total = total + log_weights(own, masses, logits=logits)[members].softmax(0).mul(up).sum()
        return torch.autograd.grad(total, own_q, create_graph=True)[0]


def reweight(q: Tensor, order: Tensor, count: int, masses: str, logits: bool, clip: float) -> Reweighted:
    """Masses of the first ``count`` samples of ``order``, and of the others; the gradient goes to q."""
    report: list[tuple[float, int, int]] = []
    a, b = _Masses.apply(q, order, count, (masses, logits, clip), report)  # type: ignore[no-untyped-call]
    invalid = [x[2] for x in report if x[2] >= 0]
    return Reweighted(a, b, (report[0][0], report[1][0]), report[0][1] + report[1][1], min(invalid, default=-1))


def cost(phi: Tensor, groups: Groups, scaled: bool) -> Tensor | None:
    """Squared distances between the groups, without a gradient, divided by their mean where ``scaled``.

    None where torch should do it: 16-bit points, rows that are not contiguous, a large product, a mean of 0.
    """
    n, m, k = len(groups.rows), len(groups.columns), phi.shape[1]
    if phi.dtype not in (torch.float32, torch.float64) or k == 0 or phi.stride(1) != 1 or n * m * k > MOST_OPERATIONS:
        return None
    D = torch.empty((n, m), dtype=phi.dtype)
    sides = [(phi.data_ptr(), phi.stride(0), x.data_ptr(), len(x)) for x in (groups.rows, groups.columns)]
    core.cpu_squared_distances(*sides, k, phi.dtype == torch.float64, scaled, D.data_ptr(), torch.get_num_threads())
    return None if scaled and math.isnan(D[0, 0].item()) else D  # divided by 0: torch's way leaves it undivided
