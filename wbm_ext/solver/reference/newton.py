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

from wbm_ext.solver.reference.gradient import solve_symmetric
from wbm_ext.solver.reference.iteration import MARGINAL, MET, SINKHORN, STAGNATED, Terms, iterate, residual

_STEPS, _HALVINGS = 40, 12
_ROUND = 20  # plain iterations before the first Newton steps, then twice as many each time
_LOOSE, _SWEEPS = 1e-3, 10  # residual and plain iterations at an annealed epsilon

Problem = Callable[[Tensor], Terms]


def newton(t: Terms, f: Tensor, g: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Steps on one problem (B = 1) until its residual is below ``tol`` or does not fall any more."""
    error = residual(t, f, g)
    for _ in range(_STEPS):
        if not bool(error > tol):
            break
        plan, _ = t.plan(f, g)
        lack = (t.rows.target(f) - plan.sum(2), t.columns.target(g) - plan.sum(1))
        df, dg, _ = solve_symmetric(t, plan, t.epsilon * lack[0], t.epsilon * lack[1])
        for halvings in range(_HALVINGS):
            step = 0.5**halvings
            new_f, new_g = f + step * df, g + step * dg
            new_error = residual(t, new_f, new_g)
            if bool(new_error < (1.0 - 0.1 * step) * error):
                f, g, error = new_f, new_g, new_error
                break
        else:
            break
    return f, g


def anneal(problem: Problem, epsilon: Tensor, g: Tensor) -> tuple[Tensor, int]:
    """g at ``epsilon`` by way of larger ones (a twentieth of the mean cost, then halves); and the iterations run."""
    t = problem(epsilon)
    finite = t.cost.isfinite()
    mean = float(torch.where(finite, t.cost, 0.0).sum() / finite.sum().clamp(min=1))
    level, done = 0.05 * abs(mean), 0
    while level > float(epsilon):
        t = problem(torch.full_like(epsilon, level))
        f, g, iterations, _ = iterate(t, g, SINKHORN, MARGINAL, _LOOSE, _SWEEPS)
        f, g = newton(t, f, g, _LOOSE)
        level, done = 0.5 * level, done + int(iterations)
    return g, done


def accelerate(
    problem: Problem, epsilon: Tensor, g: Tensor, method: int, tol: float, max_iter: int
) -> tuple[Tensor, Tensor, int, int]:
    """Rounds of plain iterations and Newton steps on one problem, annealed once where these do not get there.

    ``problem`` gives its terms at an epsilon. Returns f, g, iterations and how it ended.
    """
    t = problem(epsilon)
    length, done, annealed = _ROUND, 0, False
    while True:
        f, g, iterations, end = iterate(t, g, method, MARGINAL, tol, min(length, max_iter - done))
        done += int(iterations)
        if int(end) in (MET, STAGNATED) or done >= max_iter:
            return f, g, min(done, max_iter), int(end)
        f, g = newton(t, f, g, 0.5 * tol)
        length *= 2
        if not annealed and not bool(residual(t, f, g) <= tol):
            g, more = anneal(problem, epsilon, g)
            done, annealed = min(done + more, max_iter - 1), True
