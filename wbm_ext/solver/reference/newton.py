"""Annealing and Newton steps on the dual in plain torch, for the problems on which plain iterations crawl.

With r* and c* the targets of the residual (a and b, or the optimality values of soft marginals), one step solves

    [diag(k1 r)  P        ] [df]   [epsilon (r* - r)]
    [P'         diag(k2 c)] [dg] = [epsilon (c* - c)],      k = 1 + epsilon / kappa,

the matrix of the implicit gradient, and is halved until the residual falls.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wbm_ext.solver.problem import MARGINAL, SINKHORN
from wbm_ext.solver.reference.gradient import solve_symmetric
from wbm_ext.solver.reference.iteration import MET, STAGNATED, View, iterate, residual

_STEPS, _HALVINGS = 40, 12
_ROUND = 20  # plain iterations before the first Newton steps, then twice as many each time
_LOOSE, _SWEEPS = 1e-3, 10  # residual and plain iterations at an annealed epsilon

ViewAt = Callable[[Tensor], View]


def newton(v: View, f: Tensor, g: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Steps on one problem (B = 1) until its residual is below ``tol`` or does not fall any more."""
    error = residual(v, f, g)
    for _ in range(_STEPS):
        if not bool(error > tol):
            break
        plan, _ = v.plan(f, g)
        lack = (v.rows.target(f) - plan.sum(2), v.columns.target(g) - plan.sum(1))
        df, dg, _ = solve_symmetric(v, plan, v.epsilon * lack[0], v.epsilon * lack[1])
        for halvings in range(_HALVINGS):
            step = 0.5**halvings
            new_f, new_g = f + step * df, g + step * dg
            new_error = residual(v, new_f, new_g)
            if bool(new_error < (1.0 - 0.1 * step) * error):
                f, g, error = new_f, new_g, new_error
                break
        else:
            break
    return f, g


def anneal(view_at: ViewAt, epsilon: Tensor, g: Tensor) -> tuple[Tensor, int]:
    """g at ``epsilon`` by way of larger ones (a twentieth of the mean cost, then halves); and the iterations run."""
    v = view_at(epsilon)
    finite = v.D.isfinite()
    mean = float(torch.where(finite, v.D, 0.0).sum() / finite.sum().clamp(min=1))
    level, done = 0.05 * abs(mean), 0
    while level > float(epsilon):
        v = view_at(torch.full_like(epsilon, level))
        f, g, iterations, _ = iterate(v, g, SINKHORN, MARGINAL, _LOOSE, _SWEEPS)
        f, g = newton(v, f, g, _LOOSE)
        level, done = 0.5 * level, done + int(iterations)
    return g, done


def accelerate(
    view_at: ViewAt, epsilon: Tensor, g: Tensor, method: int, tol: float, max_iter: int
) -> tuple[Tensor, Tensor, int, int]:
    """Rounds of plain iterations and Newton steps on one problem, annealed once where these do not get there.

    ``view_at`` gives the problem at an epsilon. Returns f, g, iterations and how it ended.
    """
    v = view_at(epsilon)
    length, done, annealed = _ROUND, 0, False
    while True:
        f, g, iterations, end = iterate(v, g, method, MARGINAL, tol, min(length, max_iter - done))
        done += int(iterations)
        if int(end) in (MET, STAGNATED) or done >= max_iter:
            return f, g, min(done, max_iter), int(end)
        f, g = newton(v, f, g, 0.5 * tol)
        length *= 2
        if not annealed and not bool(residual(v, f, g) <= tol):
            g, more = anneal(view_at, epsilon, g)
            done, annealed = min(done + more, max_iter - 1), True
