"""The implicit gradient in plain torch: one dense linear system per problem, differentiable to any order.

With r = P1, c = P'1 the plan's own marginals, k = 1 + epsilon/kappa, E = log P, upstream s on the sharp cost, w on the
regularised one and q on the potentials, solve

    [diag(k1 r)  P       ] [x]   [-s ((P.E)1  + r f / kappa1) + q_f]
    [P'         diag(k2 c)] [y] = [-s ((P.E)'1 + c g / kappa2) + q_g]

    dL/dD = P . (s (1 + E) + x + y + w),   dL/da = k1' (r / a) (s f + epsilon x) + w dW/da,

k1' = 1 (entropy reference) or k1 (product). ``csrc/cpu/gradient/implicit.cpp`` computes the same by conjugate
gradients. This one serves the second derivative (it is made of differentiable operations) and devices without a kernel
of their own.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from wbm_ext.solver.problem import Batched, Problem, Upstream
from wbm_ext.solver.reference.iteration import Side, View, safe, view


def solve_symmetric(v: View, plan: Tensor, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The system above, scaled by its diagonal; with both marginals hard its null vector (1, -1) is lifted.

    Returns x, y and each problem's relative residual.
    """
    n = h1.shape[1]
    k1, k2 = 1 + v.epsilon * v.rows.inverse_kappa, 1 + v.epsilon * v.columns.inverse_kappa
    diagonal = torch.cat([k1 * plan.sum(2), k2 * plan.sum(1)], 1)
    live = diagonal > 0
    scale = torch.where(live, torch.where(live, diagonal, 1.0).rsqrt(), 0.0)
    block = scale[:, :n, None] * plan * scale[:, None, n:]
    upper = torch.cat([torch.zeros_like(plan @ plan.mT), block], 2)
    lower = torch.cat([block.mT, torch.zeros_like(plan.mT @ plan)], 2)
    matrix = torch.cat([upper, lower], 1) + torch.eye(diagonal.shape[1], dtype=plan.dtype, device=plan.device)
    # null vector of the scaled matrix: sqrt(diagonal) on the rows, -sqrt(diagonal) on the columns
    root = torch.where(live, torch.where(live, diagonal, 1.0).sqrt(), 0.0)
    null = torch.cat([root[:, :n], -root[:, n:]], 1)
    null = null / torch.where(v.both_hard, null.norm(dim=1, keepdim=True).clamp(min=1e-300), 1.0)
    null = torch.where(v.both_hard, null, 0.0)
    matrix = matrix + null[:, :, None] * null[:, None, :]
    right = scale * torch.cat([h1, h2], 1)
    right = right - null * (null * right).sum(1, keepdim=True)
    solution = torch.linalg.solve(matrix, right)
    error = (matrix @ solution[:, :, None])[:, :, 0] - right
    size = right.norm(dim=1)
    residual = torch.where(size > 0, error.norm(dim=1) / torch.where(size > 0, size, 1.0), 0.0).detach()
    solution = scale * solution
    return solution[:, :n], solution[:, n:], residual


def _pull_back_gauge(side: Side, gauge: Tensor, potential: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """What the gauge <a,f>/sum(a) = <b,g>/sum(b) does to q, and what it adds to the gradient in the masses."""
    total = torch.where(side.total > 0, side.total, 1.0)
    value = torch.where(side.active, safe(potential), 0.0)
    mean = (side.mass * value).sum(1, keepdim=True) / total
    q = q - 0.5 * gauge * torch.where(side.active, side.mass, 0.0) / total
    return q, torch.where(side.active, -0.5 * gauge * (value - mean) / total, 0.0)


def _vanished(v: View, side: Side, other: Side, D: Tensor, sharp: Tensor, reg: Tensor, g: Tensor, y: Tensor) -> Tensor:
    """One-sided derivative where the mass is 0; D is (B, side, other). 0 where it is infinite."""
    eps = v.epsilon
    admissible = D.isfinite() & other.active[:, None, :]
    x = torch.where(admissible, safe(g)[:, None, :] - safe(D), -float("inf"))
    log_sum = torch.logsumexp(x / eps[:, :, None], 2)
    reachable = log_sum.isfinite()
    weight = torch.where(admissible, torch.exp((safe(x)) / eps[:, :, None] - safe(log_sum)[:, :, None]), 0.0)
    slope = (weight * (-sharp[:, :, None] * safe(x) - eps[:, :, None] * y[:, None, :])).sum(2) * side.ratio
    product = side.shift > 0
    log_sum = safe(log_sum)
    share = torch.where(side.hard, 1.0, torch.exp(log_sum * (1 - side.ratio)))
    kappa = torch.where(side.hard, 0.0, 1.0 / torch.where(side.hard, 1.0, side.inverse_kappa))
    k = torch.where(side.hard, 1.0, 1.0 + eps * side.inverse_kappa)
    envelope = torch.where(side.hard, -eps * log_sum, kappa * (1 - share)) - eps * (share - other.total)
    value = k * share * slope + torch.where(product, reg * envelope, 0.0)
    return torch.where((side.hard | product) & reachable, value, 0.0)


def _mass_gradient(
    v: View,
    side: Side,
    other: Side,
    sharp: Tensor,
    reg: Tensor,
    potential: Tensor,
    sums: Tensor,
    x: Tensor,
) -> Tensor:
    """dL/da where a > 0."""
    positive = side.mass > 0
    share = torch.where(positive, sums / torch.where(positive, side.mass, 1.0), 0.0)
    k = torch.where(side.shift > 0, 1.0 + v.epsilon * side.inverse_kappa, 1.0)
    kappa = torch.where(side.hard, 0.0, 1.0 / torch.where(side.hard, 1.0, side.inverse_kappa))
    value = torch.where(side.active, k * share * (sharp * safe(potential) + v.epsilon * x), 0.0)
    envelope = torch.where(side.hard, side.dual(potential), kappa * (1 - share)) - side.shift * (share - other.total)
    return value + reg * envelope


def implicit_gradient(upstream: Upstream, problem: Problem, f: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """Gradients in D, a and b at the fixed point (f, g), and the relative residual of the linear systems (B,).

    All of the upstream gradients must be there. With both marginals hard da and db are centred.
    """
    grad_sharp, grad_regularized, grad_f, grad_g = cast("tuple[Tensor, Tensor, Tensor, Tensor]", upstream)
    D, a, b, *_ = cast("Batched", problem)
    v = view(problem)
    sharp, reg = grad_sharp.double()[:, None], grad_regularized.double()[:, None]
    plan, log_plan = v.plan(f, g)
    r, c = plan.sum(2), plan.sum(1)
    q_f = torch.where(v.rows.active, grad_f.double(), 0.0)
    q_g = torch.where(v.columns.active, grad_g.double(), 0.0)

    gauge = torch.where(v.both_hard, q_f.sum(1, keepdim=True) - q_g.sum(1, keepdim=True), 0.0)
    q_f, da = _pull_back_gauge(v.rows, gauge, f, q_f)
    q_g, db = _pull_back_gauge(v.columns, -gauge, g, q_g)

    entropy = plan * log_plan
    h1 = -sharp * (entropy.sum(2) + r * safe(f) * v.rows.inverse_kappa) + q_f
    h2 = -sharp * (entropy.sum(1) + c * safe(g) * v.columns.inverse_kappa) + q_g
    x, y, residual = solve_symmetric(v, plan, h1, h2)
    dD = plan * (sharp[:, :, None] * (1 + log_plan) + reg[:, :, None] + x[:, :, None] + y[:, None, :])
    da = da + _mass_gradient(v, v.rows, v.columns, sharp, reg, f, r, x)
    db = db + _mass_gradient(v, v.columns, v.rows, sharp, reg, g, c, y)
    da = torch.where(v.rows.mass > 0, da, _vanished(v, v.rows, v.columns, v.D, sharp, reg, g, y))
    db = torch.where(v.columns.mass > 0, db, _vanished(v, v.columns, v.rows, v.D.mT, sharp, reg, f, x))

    def centre(side: Side, d: Tensor) -> Tensor:
        total = torch.where(side.total > 0, side.total, 1.0)
        return torch.where(v.both_hard, d - (side.mass * d).sum(1, keepdim=True) / total, d)

    da, db = centre(v.rows, da), centre(v.columns, db) * v.b_scale
    return dD.to(D.dtype), da.to(a.dtype), db.to(b.dtype), residual
