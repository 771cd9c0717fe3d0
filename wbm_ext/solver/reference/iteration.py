"""The solver once more in plain torch: the oracle of the fast path's tests, differentiable to any order.

Slow on purpose: every line is a formula of the theory, batched, in float64, with no kernel of ours. Shapes: D is
(B, n, m), a (B, n), b (B, m), epsilon (B,), kappa (B, 2). Notation as in ``csrc/problem.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from wbm_ext.solver.problem import AUTO, ENTROPY, MARGINAL, SCALING, Batched, Options, Problem

LIMIT, MET, STAGNATED = 0, 1, 2  # how a problem ended
_INF = float("inf")


@dataclass
class Side:
    """One side of a batch of problems and the constants of its update ``offset - lambda LSE``."""

    mass: Tensor  # (B, n)
    log_mass: Tensor  # (B, n), -inf where the mass is 0
    active: Tensor  # (B, n): positive mass and an admissible partner
    hard: Tensor  # (B, 1)
    inverse_kappa: Tensor  # (B, 1), 0 where hard
    ratio: Tensor  # (B, 1): lambda / epsilon = kappa / (epsilon + kappa)
    offset: Tensor  # (B, n): s log mass of the update, 0 where the mass is 0
    idle: Tensor  # (B, n): the potential where nothing can flow
    slope: Tensor  # (B, 1): lambda
    shift: Tensor  # (B, 1): dual potential = potential - shift * log mass
    total: Tensor  # (B, 1)

    def dual(self, potential: Tensor) -> Tensor:
        return torch.where(self.active, safe(potential) - self.shift * safe(self.log_mass), 0.0)

    def target(self, potential: Tensor) -> Tensor:
        """a (hard) or a exp(-dual / kappa) (soft); 0 where nothing can flow."""
        return torch.where(self.active, self.mass * torch.exp(-self.dual(potential) * self.inverse_kappa), 0.0)

    def divergence(self, sums: Tensor) -> Tensor:
        """KL(sums | mass) entry by entry."""
        ratio = torch.where(sums > 0, torch.where(sums > 0, sums, 1.0).log() - safe(self.log_mass), 0.0)
        return sums * ratio - sums + self.mass

    def update(self, log_sum: Tensor) -> Tensor:
        """f = s log a - lambda LSE; -inf where a = 0, 0 where a row with mass has no partner."""
        return torch.where(self.active, self.offset - self.slope * safe(log_sum), self.idle)


@dataclass
class View:
    """What both the forward and the gradient need of a batch of problems."""

    D: Tensor  # (B, n, m), +inf where forbidden
    epsilon: Tensor  # (B, 1)
    rows: Side
    columns: Side
    both_hard: Tensor  # (B, 1)
    b_scale: Tensor  # (B, 1)

    def plan(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """P and E = log P (0 where P is 0 by construction), (B, n, m) both."""
        admissible = self.D.isfinite() & self.rows.active[:, :, None] & self.columns.active[:, None, :]
        exponent = (safe(f)[:, :, None] + safe(g)[:, None, :] - safe(self.D)) / self.epsilon[:, :, None]
        exponent = torch.where(admissible, exponent, 0.0)
        return torch.where(admissible, exponent.exp(), 0.0), exponent


def safe(x: Tensor) -> Tensor:
    """Infinite entries as 0, so that a later ``where`` never meets inf - inf, in either direction of autograd."""
    return torch.where(x.isfinite(), x, 0.0)


def _side(mass: Tensor, kappa: Tensor, epsilon: Tensor, partner: Tensor, reference: int) -> Side:
    positive = mass > 0
    hard = kappa.isinf()[:, None]
    inverse = torch.where(hard, 0.0, 1.0 / torch.where(hard, 1.0, kappa[:, None]))
    ratio = 1.0 / (1.0 + epsilon * inverse)
    log_mass = torch.where(positive, torch.where(positive, mass, 1.0).log(), -_INF)
    return Side(
        mass=mass,
        log_mass=log_mass,
        active=positive & partner,
        hard=hard,
        inverse_kappa=inverse,
        ratio=ratio,
        offset=(ratio * epsilon if reference == ENTROPY else epsilon) * safe(log_mass),
        idle=torch.where(positive, 0.0, -_INF).to(mass.dtype),
        slope=ratio * epsilon,
        shift=torch.zeros_like(epsilon) if reference == ENTROPY else epsilon,
        total=mass.sum(-1, keepdim=True),
    )


def view(problem: Problem) -> View:
    """Lift a batch to float64, apply the mask and rescale b where both marginals are hard."""
    D, a, b, epsilon, kappa, mask, reference = cast("Batched", problem)
    D, a, b, eps, kappa = D.double(), a.double(), b.double(), epsilon.double()[:, None], kappa.double()
    if mask is not None:
        D = torch.where(mask, D, _INF)
    both_hard = kappa.isinf().all(-1, keepdim=True)
    total_a, total_b = a.sum(-1, keepdim=True), b.sum(-1, keepdim=True)
    scale = torch.where(both_hard & (total_b > 0), total_a / torch.where(total_b > 0, total_b, 1.0), 1.0)
    b = b * scale
    carries = D.isfinite() & (a > 0)[:, :, None] & (b > 0)[:, None, :]
    return View(
        D=D,
        epsilon=eps,
        rows=_side(a, kappa[:, 0], eps, carries.any(2), reference),
        columns=_side(b, kappa[:, 1], eps, carries.any(1), reference),
        both_hard=both_hard,
        b_scale=scale,
    )


def mean_cost(D: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of D over finite, unmasked entries with positive masses on both sides, (B,); 20 where there is none."""
    allowed = D.ne(_INF) & (a > 0)[:, :, None] & (b > 0)[:, None, :]
    if mask is not None:
        allowed = allowed & mask
    count = allowed.sum((1, 2))
    total = torch.where(allowed, D, 0.0).sum((1, 2), dtype=torch.float64)
    return torch.where(count > 0, total / count.clamp(min=1), 20.0)


def default_epsilon(problem: Problem) -> Tensor:
    """0.05 times the mean of D, (B,); 0.05 where D is 0 throughout, for such a problem has no scale of its own."""
    D, a, b, _, _, mask, _ = cast("Batched", problem)
    D, a, b = D.detach(), a.detach(), b.detach()
    mean = mean_cost(D, a, b, mask)
    cost = D if mask is None else torch.where(mask, D, 0.0)
    return 0.05 * torch.where((mean == 0) & ((cost == 0) | (cost == _INF)).all(2).all(1), 1.0, mean)


def _log_sums(v: View, potential: Tensor, side: int) -> Tensor:
    exponent = (potential.unsqueeze(3 - side) - v.D) / v.epsilon[:, :, None]
    return torch.logsumexp(exponent, side)


def _translation(v: View, f: Tensor, g: Tensor) -> Tensor:
    """t = kappa1 kappa2 / (kappa1 + kappa2) log(<a, exp(-f/kappa1)> / <b, exp(-g/kappa2)>), (B, 1); 0 if both hard."""

    def log_mass(side: Side, potential: Tensor) -> Tensor:
        x = side.log_mass - side.dual(potential) * side.inverse_kappa
        return torch.logsumexp(torch.where(side.active, x, -_INF), -1, keepdim=True)

    inverse = v.rows.inverse_kappa + v.columns.inverse_kappa
    step = (log_mass(v.rows, f) - log_mass(v.columns, g)) / torch.where(inverse > 0, inverse, 1.0)
    return torch.where((inverse > 0) & step.isfinite(), step, 0.0)


def residual(v: View, f: Tensor, g: Tensor) -> Tensor:
    """(|P1 - r*|_1 + |P'1 - c*|_1) / max(mass, (sum a + sum b) / 2), (B,)."""
    plan, _ = v.plan(f, g)
    error = (plan.sum(2) - v.rows.target(f)).abs().sum(1) + (plan.sum(1) - v.columns.target(g)).abs().sum(1)
    scale = torch.maximum(plan.sum((1, 2)), 0.5 * (v.rows.total + v.columns.total)[:, 0])
    return torch.where(scale > 0, error / torch.where(scale > 0, scale, 1.0), 0.0)


def costs(v: View, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sharp cost <D,P>, the whole objective, and the transported mass, (B,) each."""
    plan, log_plan = v.plan(f, g)
    sharp = (plan * safe(v.D)).sum((1, 2))
    mass = plan.sum((1, 2))
    objective = sharp + v.epsilon[:, 0] * ((plan * log_plan).sum((1, 2)) - mass)
    for side, sums in ((v.rows, plan.sum(2)), (v.columns, plan.sum(1))):
        # -shift log mass of the product reference, and kappa KL(sums | mass) of a soft side
        kappa = torch.where(side.hard, 0.0, 1.0 / torch.where(side.hard, 1.0, side.inverse_kappa))
        objective = objective - (side.shift * sums * safe(side.log_mass)).sum(1)
        objective = objective + (kappa * side.divergence(sums)).sum(1)
    objective = objective + (v.rows.shift * v.rows.total * v.columns.total)[:, 0]
    return sharp, objective, mass


def gauge(v: View, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Both hard: shift f by t and g by -t so that <a,f>/sum(a) = <b,g>/sum(b)."""

    def mean(side: Side, potential: Tensor) -> Tensor:
        total = torch.where(side.total > 0, side.total, 1.0)
        return (torch.where(side.active, side.mass * safe(potential), 0.0)).sum(1, keepdim=True) / total

    shift = torch.where(v.both_hard, 0.5 * (mean(v.columns, g) - mean(v.rows, f)), 0.0)
    return torch.where(v.rows.active, f + shift, f), torch.where(v.columns.active, g - shift, g)


_PATIENCE = 100  # iterations without a smaller residual, after which it is taken for rounding


def iterate(
    v: View,
    init_g: Tensor | None,
    method: int,
    criterion: int,
    tol: float,
    max_iter: int,
    limits: Tensor | None = None,
    history: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-domain Sinkhorn: f, g, iterations (B,) and how each problem ended (B,): LIMIT, MET or STAGNATED.

    One iteration is the f update, then the g update, from g = 0 or ``init_g``. Problems stop separately, at ``limits``
    (B,) at the latest; with ``tol = 0`` all of them run ``max_iter`` iterations. ``history`` (B, max_iter + 1, n + m)
    takes f and g after every iteration, the start first.
    """
    start = torch.zeros_like(v.columns.mass) if init_g is None else safe(init_g.double())
    f, g = torch.zeros_like(v.rows.mass), torch.where(v.columns.mass > 0, start, -_INF)
    count = len(v.epsilon)
    end = torch.full((count,), LIMIT, device=f.device)
    iterations = torch.zeros(count, dtype=torch.int64, device=f.device)
    best = torch.full((count,), _INF, dtype=f.dtype, device=f.device)
    since = torch.zeros_like(iterations)
    running = torch.ones(count, dtype=torch.bool, device=f.device)
    for k in range(max_iter):
        if limits is not None:
            running = limits > k
        if history is not None:
            history[:, k] = torch.cat([f, g], 1)
        new_f = v.rows.update(_log_sums(v, g, 2))
        new_g = v.columns.update(_log_sums(v, new_f, 1))
        if method == AUTO and tol > 0:
            step = _translation(v, new_f, new_g)
            new_f, new_g = (
                torch.where(v.rows.active, new_f + step, new_f),
                torch.where(v.columns.active, new_g - step, new_g),
            )
        change = torch.zeros_like(best)
        if criterion == SCALING and tol > 0:
            change = (torch.exp(new_f / v.epsilon) - torch.exp(f / v.epsilon)).square().sum(1)
            change = change + (torch.exp(new_g / v.epsilon) - torch.exp(g / v.epsilon)).square().sum(1)
        if limits is None and tol == 0:
            f, g, iterations = new_f, new_g, iterations + 1
            continue
        f, g = torch.where(running[:, None], new_f, f), torch.where(running[:, None], new_g, g)
        iterations = iterations + running
        if tol > 0:
            error = residual(v, f, g)
            met = change < tol if criterion == SCALING else error <= tol
            since = torch.where(error < best, 0, since + 1)
            best = torch.minimum(error, best)
            stale = (since >= _PATIENCE) & (criterion == MARGINAL)
            end = torch.where(running, torch.where(met, MET, torch.where(stale, STAGNATED, LIMIT)), end)
            running = running & ~met & ~stale
            if not running.any():
                break
    if history is not None:
        history[torch.arange(count, device=f.device), iterations] = torch.cat([f, g], 1)
    return f, g, iterations, end


def solve(
    problem: Problem, options: Options, limits: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-domain Sinkhorn; returns sharp, regularized, f, g, residual, iterations. Autograd unrolls it."""
    v = view(problem)
    method, criterion, _, tol, max_iter, init_g = options
    f, g, iterations, _ = iterate(v, init_g, method, criterion, tol, max_iter, limits)
    f, g = gauge(v, f, g)
    sharp, regularized, _ = costs(v, f, g)
    return sharp, regularized, f, g, residual(v, f, g), iterations
