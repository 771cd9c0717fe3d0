"""⟨D, sg(π)⟩ of a batch and its gradient in closed form: one node of the graph in the place of some thirty.

At the batch sizes of these systems the price of a step is the number of operations, not their size. The value is
that of :func:`wbm_ext.losses.escfr_discrepancy` with ``grad="frozen"``, to which a test holds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wbm_ext.solver import SinkhornResult

Solver = Callable[[Tensor], SinkhornResult]


def cost_matrix(r: Tensor, y: Tensor, outcomes: Tensor, treated: int, scale: float, gamma: float) -> Tensor:
    """Return D_ij = s |r_i - r_j|² + γ [(y^0_i - y_j)² + (y^1_j - y_i)²], (n, m), of a batch with treated units first.

    Parameters
    ----------
    r : Tensor, shape (B, k)
    y : Tensor, shape (B,)
        Factual outcomes.
    outcomes : Tensor, shape (2, B)
        Both heads at all units.
    treated : int
        n.
    """
    n = treated
    if gamma == 0:
        return _squared_distances(r, n).mul_(scale)
    # D is the squared distance of [√s r; √γ Y⁰; √γ Y¹], with each unit's predicted outcome in the arm it is not in
    arms = torch.stack([torch.cat([outcomes[0, :n], y[n:]]), torch.cat([y[:n], outcomes[1, n:]])], 1)
    return _squared_distances(torch.cat([r * math.sqrt(scale), arms.mul_(math.sqrt(gamma))], 1), n)


def _squared_distances(z: Tensor, n: int) -> Tensor:
    """|z_i - z_j|² of the first n rows and the others: ``losses.squared_distances``, bit for bit, in fewer steps."""
    centre = z[n:].mean(0, keepdim=True)
    x, y = z[:n] - centre, z[n:] - centre
    D = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return D.sub_(x.mul_(2) @ y.mT).clamp_(min=0.0)


class _Transport(torch.autograd.Function):
    """Value ⟨D, π⟩ with the gradients of r and of both heads under a constant π.

    With p the marginals [π1; πᵀ1] and Π r = [π r_untreated; πᵀ r_treated]:

        ∂/∂r = 2 s (p r - Π r),   ∂/∂y^ = 2 γ (p y^ - Π y) at the counterfactual outcomes, 0 at the factual ones.
    """

    @staticmethod
    def forward(
        ctx: Any,
        r: Tensor,
        outcomes: Tensor,
        y: Tensor,
        treated: int,
        scale: float,
        gamma: float,
        solver: Solver,
        seen: Callable[[SinkhornResult], None],
    ) -> Tensor:
        n, k = treated, r.shape[1]
        result = solver(cost_matrix(r, y, outcomes, n, scale, gamma))
        seen(result)
        plan = result.plan
        carried = torch.cat([plan.sum(1), plan.sum(0)])
        both = r if gamma == 0 else torch.cat([r, y[:, None]], 1)
        moved = torch.empty_like(both)
        torch.mm(plan, both[n:], out=moved[:n])
        torch.mm(plan.mT, both[:n], out=moved[n:])
        ctx.by_r = torch.addcmul(moved[:, :k], carried[:, None], r, value=-1).mul_(-2 * scale)
        ctx.by_outcomes = None
        if gamma > 0 and ctx.needs_input_grad[1]:
            ctx.by_outcomes = torch.zeros_like(outcomes)
            for head, part in ((0, slice(0, n)), (1, slice(n, None))):
                torch.sub(carried[part] * outcomes[head, part], moved[part, k], out=ctx.by_outcomes[head, part])
            ctx.by_outcomes.mul_(2 * gamma)
        return result.cost

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        by_outcomes = None if ctx.by_outcomes is None else grad * ctx.by_outcomes
        return grad * ctx.by_r, by_outcomes, None, None, None, None, None, None


def frozen_transport(
    r: Tensor,
    outcomes: Tensor,
    y: Tensor,
    treated: int,
    *,
    scale: float,
    gamma: float,
    solver: Solver,
    seen: Callable[[SinkhornResult], None],
) -> Tensor:
    """Return ⟨D, sg(π)⟩, a scalar; arguments as :func:`cost_matrix`.

    Parameters
    ----------
    solver : callable, D (n, m) -> SinkhornResult
    seen : callable, SinkhornResult -> None
        Is shown the solve (its diagnostics).
    """
    return _Transport.apply(r, outcomes, y, treated, scale, gamma, solver, seen)
