"""The operators in plain torch: the kernels of ``WBM_BACKEND=reference``, and of devices without one of their own.

Same signatures, statuses and refusals as the compiled ones; the iterations are plain ones in the log domain, with the
translation of the potentials, annealing and dense Newton steps for ``method="auto"``. Memory O(n m) for plain
iterations, O((n + m)^2) for Newton steps and the implicit gradient, O(iterations n m) for the unrolled one.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from wbm_ext.solver.kernels import Solved, allocate
from wbm_ext.solver.reference import iteration as plain
from wbm_ext.solver.reference.gradient import implicit_gradient_and_residual
from wbm_ext.solver.reference.iteration import (
    ACCELERATED,
    FROZEN,
    IMPLICIT,
    MARGINAL,
    MET,
    SINKHORN,
    STAGNATED,
    UNROLLED,
)
from wbm_ext.solver.reference.newton import accelerate
from wbm_ext.solver.status import REFUSED, Status

_INF = float("inf")
_PLAIN = 100  # plain iterations on the whole batch before Newton steps on what is left of it


def mean_cost(cost: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    return plain.mean_cost(cost, a, b, mask)


def _flag(condition: Tensor, bit: Status) -> Tensor:
    return torch.where(condition, int(bit), 0)


def inspect(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    init_g: Tensor | None,
) -> Tensor:
    """What the data themselves show: the bits of a refusal, and whether b is rescaled, (B,)."""
    a, b, epsilon, kappa = a.double(), b.double(), epsilon.double(), kappa.double()
    allowed = torch.ones_like(cost, dtype=torch.bool) if mask is None else mask
    hard = kappa.isinf()
    total_a, total_b = a.sum(1), b.sum(1)
    bad_mass = ~((a >= 0).all(1) & (b >= 0).all(1) & total_a.isfinite() & total_b.isfinite())
    both = hard.all(1) & ~bad_mass
    unequal = both & ((total_a - total_b).abs() > 1e-3 * torch.maximum(total_a, total_b))
    rescaled = both & ~unequal & (total_b > 0) & ((total_a / total_b - 1).abs() > 1e-6)
    bad_cost = (allowed & ~(cost > -_INF)).any(2).any(1)
    carries = allowed & (cost < _INF) & (a > 0)[:, :, None] & (b > 0)[:, None, :]
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


def _harmless(
    refused: Tensor, cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, kappa: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The batch with a problem that can be solved in the place of each refused one, so that no NaN is iterated."""
    wide, tall = refused[:, None, None], refused[:, None]
    return (
        torch.where(wide, 0.0, cost),
        torch.where(tall, 1.0, a),
        torch.where(tall, 1.0, b),
        torch.where(refused, 1.0, epsilon),
        torch.where(tall, 1.0, kappa),
        None if mask is None else mask | wide,
    )


def _terms_at(
    cost: Tensor, a: Tensor, b: Tensor, kappa: Tensor, mask: Tensor | None, reference: int, epsilon: Tensor
) -> plain.Terms:
    return plain.terms(cost, a, b, epsilon, kappa, mask, reference)


def solve(
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
) -> Solved:
    status = inspect(cost, a, b, epsilon, kappa, mask, init_g)
    refused = (status & int(REFUSED)) != 0
    history = allocate(cost, max_iter, gradient == UNROLLED, cost.dtype)[8]
    if init_g is not None:
        init_g = torch.where(refused[:, None], 0.0, init_g)
    cost, a, b, epsilon, kappa, mask = _harmless(refused, cost, a, b, epsilon, kappa, mask)
    t = plain.terms(cost, a, b, epsilon, kappa, mask, reference)
    if method == ACCELERATED and criterion == MARGINAL and tol > 0:
        f, g, iterations, end = plain.iterate(t, init_g, method, criterion, tol, min(max_iter, _PLAIN))
        for p in ((end != MET) & (iterations < max_iter)).nonzero().flatten().tolist():
            one = slice(p, p + 1)
            data = (kappa[one], None if mask is None else mask[one], reference)
            problem = partial(_terms_at, cost[one], a[one], b[one], *data)
            left = max_iter - int(iterations[p])
            f[one], g[one], more, end[one] = accelerate(problem, epsilon[one], g[one], method, tol, left)
            iterations[one] += more
    else:
        record = history if gradient == UNROLLED else None
        f, g, iterations, end = plain.iterate(t, init_g, method, criterion, tol, max_iter, history=record)
    f, g = plain.gauge(t, f, g)
    sharp, regularized, mass = plain.costs(t, f, g)
    residual = plain.residual(t, f, g)

    finite = sharp.to(cost.dtype).isfinite() & regularized.to(cost.dtype).isfinite() & residual.isfinite()
    met = finite & (residual <= tol if criterion == MARGINAL else end == MET)
    ended = torch.where(end == STAGNATED, int(Status.STAGNATED), int(Status.ITERATION_LIMIT))
    status = torch.where(refused, status, status | torch.where(met, int(Status.CONVERGED), ended))
    status = status | _flag(~finite & ~refused, Status.OVERFLOW)

    def answer(x: Tensor) -> Tensor:
        return torch.where(refused.reshape(-1, *[1] * (x.dim() - 1)), float("nan"), x)

    return (
        answer(sharp).to(cost.dtype),
        answer(regularized).to(cost.dtype),
        answer(f),
        answer(g),
        answer(mass),
        answer(residual),
        torch.where(refused, 0, iterations),
        status.to(torch.int32),
        history,
    )


def solve_backward(
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
    refused = (inspect(cost, a, b, epsilon, kappa, mask, None) & int(REFUSED)) != 0
    cost, a, b, epsilon, kappa, mask = _harmless(refused, cost, a, b, epsilon, kappa, mask)
    if gradient == FROZEN:
        weight = (grad_sharp + grad_regularized).double()[:, None, None]
        plan, _ = plain.terms(cost, a, b, epsilon, kappa, mask, reference).plan(f, g)
        gradients = ((plan * weight).to(cost.dtype), torch.zeros_like(a), torch.zeros_like(b))
        residual = torch.zeros_like(epsilon, dtype=torch.float64)
    elif gradient == IMPLICIT:
        d_cost, d_a, d_b, residual = implicit_gradient_and_residual(
            grad_sharp, grad_regularized, grad_f, grad_g, cost, a, b, epsilon, kappa, mask, f, g, reference
        )
        gradients = (d_cost, d_a, d_b)
    else:
        upstream = (grad_sharp, grad_regularized, grad_f, grad_g)
        gradients = _unrolled(upstream, cost, a, b, epsilon, kappa, mask, iterations, history, reference)
        residual = torch.zeros_like(epsilon, dtype=torch.float64)
    nan = float("nan")
    d_cost, d_a, d_b = gradients
    return (
        torch.where(refused[:, None, None], nan, d_cost),
        torch.where(refused[:, None], nan, d_a),
        torch.where(refused[:, None], nan, d_b),
        torch.where(refused, nan, residual),
    )


_SPECK = 1e-120  # stands for a zero mass: too little to change any number, enough to have a derivative


def _unrolled(
    upstream: tuple[Tensor, ...],
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    iterations: Tensor,
    history: Tensor,
    reference: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Autograd through the iterations that were run, started where the history starts."""
    sharp, regularized, q_f, q_g = (x.double() for x in upstream)
    q_f, q_g = torch.where(a > 0, q_f, 0.0), torch.where(b > 0, q_g, 0.0)
    start = torch.where(b > 0, history[:, 0, cost.shape[1] :], -1e100)
    zero = torch.zeros_like(regularized)
    with torch._C._PreserveDispatchKeyGuard():  # a kernel runs below autograd, which is needed here
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality, False)
        with torch.enable_grad():
            leaves = [
                x.detach().double().requires_grad_()
                for x in (cost, torch.where(a > 0, a.double(), _SPECK), torch.where(b > 0, b.double(), _SPECK))
            ]
            outputs = plain.solve(
                leaves[0], leaves[1], leaves[2], epsilon, kappa, mask, start, reference, SINKHORN, tol=0.0,
                max_iter=int(iterations.max()) if len(iterations) else 0, limits=iterations,
            )[:4]  # fmt: skip
            d_cost, d_a, d_b = torch.autograd.grad(outputs, leaves, (sharp, regularized, q_f, q_g), retain_graph=True)
            # where dW/da is infinite at a zero mass, the regularised cost has no share in it
            weight = regularized if reference == plain.PRODUCT else zero
            _, v_a, v_b = torch.autograd.grad(outputs, leaves, (sharp, weight, q_f, q_g))
    t = plain.terms(cost, a, b, epsilon, kappa, mask, reference)

    def finish(side: plain.Marginal, d: Tensor, vanished: Tensor) -> Tensor:
        """The one-sided derivative at a zero mass (0 where infinite); centred where both marginals are hard."""
        finite = side.hard | (side.shift > 0)
        d = torch.where(side.mass > 0, d, torch.where(finite, vanished, 0.0))
        total = side.total
        mean = (side.mass * d).sum(1, keepdim=True) / torch.where(total > 0, total, 1.0)
        return torch.where(t.both_hard, d - mean, d)

    # the derivative through the rescaling of b is in d_b already, its centring is repeated here
    return d_cost.to(cost.dtype), finish(t.rows, d_a, v_a).to(a.dtype), finish(t.columns, d_b, v_b).to(b.dtype)
