"""The kernels in plain torch: those of ``WBM_BACKEND=reference``, and of devices without some of their own.

Same records, statuses and refusals as the compiled ones; the iterations are plain ones in the log domain, with the
translation of the potentials, annealing and dense Newton steps for ``method="auto"``. Memory O(n m) for plain
iterations, O((n + m)^2) for Newton steps and the implicit gradient, O(iterations n m) for the unrolled one. Every value
of a problem is given here, and every tensor has its batch dimension.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from wbm_ext.solver.problem import (
    AUTO,
    FROZEN,
    IMPLICIT,
    MARGINAL,
    PRODUCT,
    SINKHORN,
    UNROLLED,
    Batched,
    Options,
    Problem,
    Solution,
    Upstream,
    computed_in,
)
from wbm_ext.solver.reference import iteration
from wbm_ext.solver.reference.gradient import implicit_gradient
from wbm_ext.solver.reference.iteration import MET, STAGNATED, default_epsilon, mean_cost, view
from wbm_ext.solver.reference.newton import accelerate
from wbm_ext.solver.status import REFUSED, Status

__all__ = ["default_epsilon", "gradient", "mean_cost", "solve"]

_INF = float("inf")
_PLAIN = 100  # plain iterations on the whole batch before Newton steps on what is left of it


def _flag(condition: Tensor, bit: Status) -> Tensor:
    return torch.where(condition, int(bit), 0)


def inspect(problem: Problem, init_g: Tensor | None) -> Tensor:
    """What the data themselves show: the bits of a refusal, and whether b is rescaled, (B,)."""
    D, a, b, epsilon, kappa, mask, _ = cast("Batched", problem)
    a, b, epsilon, kappa = a.double(), b.double(), epsilon.double(), kappa.double()
    allowed = torch.ones_like(D, dtype=torch.bool) if mask is None else mask
    hard = kappa.isinf()
    total_a, total_b = a.sum(1), b.sum(1)
    bad_mass = ~((a >= 0).all(1) & (b >= 0).all(1) & total_a.isfinite() & total_b.isfinite())
    both = hard.all(1) & ~bad_mass
    unequal = both & ((total_a - total_b).abs() > 1e-3 * torch.maximum(total_a, total_b))
    rescaled = both & ~unequal & (total_b > 0) & ((total_a / total_b - 1).abs() > 1e-6)
    bad_cost = (allowed & ~(D > -_INF)).any(2).any(1)
    carries = allowed & (D < _INF) & (a > 0)[:, :, None] & (b > 0)[:, None, :]
    alone = hard[:, 0] & ((a > 0) & ~carries.any(2)).any(1) | hard[:, 1] & ((b > 0) & ~carries.any(1)).any(1)
    strong = (epsilon > 0) & epsilon.isfinite() & (kappa > 0).all(1)
    status = (
        _flag(bad_mass, Status.INVALID_MASS)
        | _flag(unequal, Status.UNEQUAL_MASSES)
        | _flag(rescaled, Status.RESCALED)
        | _flag(bad_cost, Status.NAN_COST)
        | _flag(alone, Status.ISOLATED)
        | _flag(~strong & ~bad_cost, Status.INVALID_STRENGTH)
    )
    if init_g is not None:
        status = status | _flag(~(init_g < _INF).all(1), Status.INVALID_INIT)
    return status


def _harmless(problem: Problem, refused: Tensor) -> Problem:
    """The batch with a problem that can be solved in the place of each refused one, so that no NaN is iterated."""
    D, a, b, epsilon, kappa, mask, reference = cast("Batched", problem)
    wide, tall = refused[:, None, None], refused[:, None]
    return Problem(
        torch.where(wide, 0.0, D),
        torch.where(tall, 1.0, a),
        torch.where(tall, 1.0, b),
        torch.where(refused, 1.0, epsilon),
        torch.where(tall, 1.0, kappa),
        None if mask is None else mask | wide,
        reference,
    )


def _one(problem: Problem, p: int) -> Problem:
    return Problem(*[x[p : p + 1] if isinstance(x, Tensor) else x for x in problem])  # type: ignore[arg-type]


def solve(problem: Problem, options: Options) -> Solution:
    method, criterion, gradient, tol, max_iter, init_g = options
    status = inspect(problem, init_g)
    refused = (status & int(REFUSED)) != 0
    if init_g is not None:
        init_g = torch.where(refused[:, None], 0.0, init_g)
    used, kind = cast("Tensor", problem.epsilon), computed_in(problem.D.dtype)
    problem = _harmless(problem, refused)
    v = view(problem)
    count, n, m = problem.D.shape
    history = v.D.new_empty((count, max_iter + 1, n + m)) if gradient == UNROLLED else None
    if method == AUTO and criterion == MARGINAL and tol > 0:
        f, g, iterations, end = iteration.iterate(v, init_g, method, criterion, tol, min(max_iter, _PLAIN))
        for p in ((end != MET) & (iterations < max_iter)).nonzero().flatten().tolist():
            one, part = slice(p, p + 1), _one(problem, p)
            left = max_iter - int(iterations[p])
            f[one], g[one], more, end[one] = accelerate(
                lambda epsilon, part=part: view(part._replace(epsilon=epsilon)),  # type: ignore[misc]
                cast("Tensor", part.epsilon), g[one], method, tol, left,
            )  # fmt: skip
            iterations[one] += more
    else:
        f, g, iterations, end = iteration.iterate(v, init_g, method, criterion, tol, max_iter, history=history)
    f, g = iteration.gauge(v, f, g)
    sharp, regularized, mass = iteration.costs(v, f, g)
    residual = iteration.residual(v, f, g)

    finite = sharp.to(kind).isfinite() & regularized.to(kind).isfinite() & residual.isfinite()
    met = finite & (residual <= tol if criterion == MARGINAL else end == MET)
    ended = torch.where(end == STAGNATED, int(Status.STAGNATED), int(Status.ITERATION_LIMIT))
    status = torch.where(refused, status, status | torch.where(met, int(Status.CONVERGED), ended))
    status = status | _flag(~finite & ~refused, Status.OVERFLOW)

    def answer(x: Tensor) -> Tensor:
        return torch.where(refused.reshape(-1, *[1] * (x.dim() - 1)), float("nan"), x)

    return Solution(
        sharp=answer(sharp).to(kind),
        regularized=answer(regularized).to(kind),
        f=answer(f),
        g=answer(g),
        mass=answer(mass),
        residual=answer(residual),
        iterations=torch.where(refused, 0, iterations),
        status=status.to(torch.int32),
        history=history,  # type: ignore[arg-type]
        epsilon=used.double().clone(),
    )


def gradient(
    problem: Problem, solution: Solution, upstream: Upstream, mode: int, max_iter: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients in D, a and b, and the relative residual of the linear systems, (B,)."""
    refused = (inspect(problem, None) & int(REFUSED)) != 0
    problem = _harmless(problem, refused)
    D, a, b, epsilon, _, _, _ = cast("Batched", problem)
    kind, f, g = computed_in(D.dtype), solution.f, solution.g
    cost = torch.zeros(len(D), dtype=kind, device=D.device)
    zeros = (cost, cost, torch.zeros_like(f), torch.zeros_like(g))
    upstream = Upstream(*[z if u is None else u for u, z in zip(upstream, zeros, strict=True)])
    residual = torch.zeros_like(epsilon, dtype=torch.float64)
    if mode == FROZEN:
        plan, _ = view(problem).plan(f, g)
        weight = (cast("Tensor", upstream.sharp) + cast("Tensor", upstream.regularized)).double()[:, None, None]
        d_D, d_a, d_b = (plan * weight).to(D.dtype), torch.zeros_like(a), torch.zeros_like(b)
    elif mode == IMPLICIT:
        d_D, d_a, d_b, residual = implicit_gradient(upstream, problem, f, g)
    else:
        d_D, d_a, d_b = _unrolled(upstream, problem, solution.iterations, solution.history)
    nan = float("nan")
    return (
        torch.where(refused[:, None, None], nan, d_D),
        torch.where(refused[:, None], nan, d_a),
        torch.where(refused[:, None], nan, d_b),
        torch.where(refused, nan, residual),
    )


_SPECK = 1e-120  # stands for a zero mass: too little to change any number, enough to have a derivative


def _unrolled(
    upstream: Upstream, problem: Problem, iterations: Tensor, history: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Autograd through the iterations that were run, started where the history starts."""
    D, a, b, *_ = cast("Batched", problem)
    sharp, regularized, q_f, q_g = (x.double() for x in cast("tuple[Tensor, Tensor, Tensor, Tensor]", upstream))
    q_f, q_g = torch.where(a > 0, q_f, 0.0), torch.where(b > 0, q_g, 0.0)
    start = torch.where(b > 0, history[:, 0, D.shape[1] :], -1e100)
    most = int(iterations.max()) if len(iterations) else 0
    plain = Options(SINKHORN, MARGINAL, UNROLLED, 0.0, most, start)
    zero = torch.zeros_like(regularized)
    with torch._C._PreserveDispatchKeyGuard():  # a kernel runs below autograd, which is needed here
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality, False)
        with torch.enable_grad():
            leaves = [
                x.detach().double().requires_grad_()
                for x in (D, torch.where(a > 0, a.double(), _SPECK), torch.where(b > 0, b.double(), _SPECK))
            ]
            unrolled = problem._replace(D=leaves[0], a=leaves[1], b=leaves[2])
            outputs = iteration.solve(unrolled, plain, limits=iterations)[:4]
            d_D, d_a, d_b = torch.autograd.grad(outputs, leaves, (sharp, regularized, q_f, q_g), retain_graph=True)
            # where dW/da is infinite at a zero mass, the regularised cost has no share in it
            weight = regularized if problem.reference == PRODUCT else zero
            _, v_a, v_b = torch.autograd.grad(outputs, leaves, (sharp, weight, q_f, q_g))
    v = view(problem)

    def finish(side: iteration.Side, d: Tensor, vanished: Tensor) -> Tensor:
        """The one-sided derivative at a zero mass (0 where infinite); centred where both marginals are hard."""
        finite = side.hard | (side.shift > 0)
        d = torch.where(side.mass > 0, d, torch.where(finite, vanished, 0.0))
        total = side.total
        mean = (side.mass * d).sum(1, keepdim=True) / torch.where(total > 0, total, 1.0)
        return torch.where(v.both_hard, d - mean, d)

    # the derivative through the rescaling of b is in d_b already, its centring is repeated here
    return d_D.to(D.dtype), finish(v.rows, d_a, v_a).to(a.dtype), finish(v.columns, d_b, v_b).to(b.dtype)
