"""Gradients in epsilon and kappa at the fixed point, from those in D and the masses.

With E = log P, r = P1, k = 1 + epsilon/kappa, and k' = 1 (entropy reference) or k (product), the fixed point is
log r + f/kappa = k' log a, and the same for columns. Differentiated in everything,

    k r df + P dg = P.dD 1 + (P.E)1 d(epsilon) - epsilon r f d(1/kappa) + epsilon k' (r/a) da + epsilon r log a dk'.

Let (x, y) solve the adjoint system of a loss L(P, f, g) (``reference/gradient.py``). What multiplies dD is also what
multiplies E d(epsilon), and what multiplies da holds x, so that no further system is to be solved: with dL/dD less its
direct part s P (s the upstream of the sharp cost), and x_i r_i = a_i (dL/da_i) / k',

    dL/d(epsilon) = <E, dL/dD - s P> + [product] sum_i x_i r_i log(a_i) / kappa1 + the same of b,
    dL/d(kappa1)  = sum_i x_i r_i phi_i / kappa1^2,   phi = f (entropy), f - epsilon log a (product).

The regularised cost W is a minimum, so that only its explicit dependence counts (Danskin):

    dW/d(epsilon) = -H(P) (entropy) or KL(P | a b') (product),   dW/d(kappa1) = KL(P1 | a).

A hard marginal has kappa = inf: its derivative in kappa is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext.solver.problem import PRODUCT, Problem
from wbm_ext.solver.reference.iteration import Side, View, safe, view


def _fixed_point_side(v: View, side: Side, potential: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """One side's share of dL/d(epsilon), and dL/d(kappa), (B,) both."""
    k = torch.where(side.shift > 0, 1.0 + v.epsilon * side.inverse_kappa, 1.0)
    flow = torch.where(side.active, side.mass * gradient / k, 0.0)
    epsilon = torch.where(side.shift > 0, (flow * safe(side.log_mass)).sum(1, keepdim=True) * side.inverse_kappa, 0.0)
    kappa = (flow * side.dual(potential)).sum(1, keepdim=True) * side.inverse_kappa.square()
    return epsilon[:, 0], kappa[:, 0]


def fixed_point_gradient(
    d_D: Tensor, d_a: Tensor, d_b: Tensor, grad_sharp: Tensor, problem: Problem, f: Tensor, g: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/d(epsilon) (B,) and dL/d(kappa) (B, 2) of a loss in the sharp cost and the potentials, from its dD, da, db."""
    v = view(problem)
    plan, _ = v.plan(f, g)
    through = d_D.double() - grad_sharp.double()[:, None, None] * plan
    # E also where P has flushed to 0: an empty row's potential still follows the others
    exponent = (safe(f)[:, :, None] + safe(g)[:, None, :] - safe(v.D)) / v.epsilon[:, :, None]
    on_rows, kappa_rows = _fixed_point_side(v, v.rows, f, d_a.double())
    on_columns, kappa_columns = _fixed_point_side(v, v.columns, g, d_b.double())
    d_epsilon = (through * safe(exponent)).sum((1, 2)) + on_rows + on_columns
    return d_epsilon, torch.stack([kappa_rows, kappa_columns], 1)


def envelope_gradient(grad_regularized: Tensor, problem: Problem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """dL/d(epsilon) (B,) and dL/d(kappa) (B, 2) of a loss in the regularised cost."""
    v = view(problem)
    plan, log_plan = v.plan(f, g)
    d_epsilon = (plan * (log_plan - 1.0)).sum((1, 2))
    if problem.reference == PRODUCT:
        d_epsilon = d_epsilon + (v.rows.total * v.columns.total)[:, 0]
    d_kappa = []
    for side, sums in ((v.rows, plan.sum(2)), (v.columns, plan.sum(1))):
        if problem.reference == PRODUCT:
            d_epsilon = d_epsilon - (sums * safe(side.log_mass)).sum(1)
        d_kappa.append(torch.where(side.hard[:, 0], 0.0, side.divergence(sums).sum(1)))
    w = grad_regularized.double()
    return w * d_epsilon, w[:, None] * torch.stack(d_kappa, 1)
