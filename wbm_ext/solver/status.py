"""What a solve says about itself, one set of bits per problem: an error for a refused input, a warning for a solve that
did not converge."""

from __future__ import annotations

import math
from enum import IntFlag
from typing import cast

import torch
from torch import Tensor

from wbm_ext.errors import ConvergenceWarning, warn_once
from wbm_ext.solver.problem import Problem


class Status(IntFlag):
    """Bits of :attr:`SinkhornResult.status` (``csrc/problem.h`` holds the same numbers).

    The first five describe a solve that was run; the others an input that was refused (its outputs are NaN).
    """

    CONVERGED = 1
    ITERATION_LIMIT = 2
    STAGNATED = 4
    OVERFLOW = 8
    RESCALED = 16
    NAN_COST = 32
    INVALID_MASS = 64
    UNEQUAL_MASSES = 128
    ISOLATED = 256
    INVALID_STRENGTH = 512
    INVALID_INIT = 1024


REFUSED = (
    Status.NAN_COST
    | Status.INVALID_MASS
    | Status.UNEQUAL_MASSES
    | Status.ISOLATED
    | Status.INVALID_STRENGTH
    | Status.INVALID_INIT
)

_TEXT = {
    Status.CONVERGED: "converged",
    Status.ITERATION_LIMIT: "stopped at max_iter",
    Status.STAGNATED: "stagnated at the rounding level of the exponents",
    Status.OVERFLOW: "overflow",
    Status.RESCALED: "b was rescaled to the total of a",
    Status.NAN_COST: "D holds NaN or -inf",
    Status.INVALID_MASS: "a or b holds a negative or non-finite mass",
    Status.UNEQUAL_MASSES: "the totals of a and b differ",
    Status.ISOLATED: "a row or column with positive mass has no admissible partner",
    Status.INVALID_STRENGTH: "epsilon or kappa is not positive and finite (kappa may be inf)",
    Status.INVALID_INIT: "init holds NaN or +inf",
}


def describe(status: int) -> str:
    """The bits of one problem's status in words.

    >>> describe(Status.CONVERGED | Status.RESCALED)
    'converged; b was rescaled to the total of a'
    """
    return "; ".join(text for bit, text in _TEXT.items() if status & bit) or "not solved"


def raise_or_warn(
    problem: Problem, batch: tuple[int, ...], status: list[int], residual: list[float], tol: float
) -> None:
    """Raise for a refused problem, warn for one above its tolerance.

    Raises
    ------
    ValueError
        Naming argument, expected and got, for the first refused problem of the batch.
    """
    for p, s in enumerate(status):
        if s & REFUSED:
            raise ValueError(_explain(problem, batch, p, s))
    warn_of_unconverged(status, residual, tol)


def raise_or_warn_inside_func(status: Tensor, residual: Tensor, tol: float) -> None:
    """The same inside ``torch.func`` transforms, where the values have no place in the caller's batch.

    Raises
    ------
    ValueError
        With the status in words, for a refused problem.
    """
    bits, errors = _unwrap(status).flatten().tolist(), _unwrap(residual).flatten().tolist()
    for s in bits:
        if s & REFUSED:
            raise ValueError(f"a problem inside torch.func was refused: {describe(s & REFUSED)}")
    warn_of_unconverged(bits, errors, tol)


def warn_of_unconverged(status: list[int], residual: list[float], tol: float) -> None:
    """ConvergenceWarning with the worst residual and the remedy; none where no tolerance was asked for."""
    failed = [p for p, s in enumerate(status) if not s & Status.CONVERGED]
    if not failed or tol == 0:
        return
    worst = max(failed, key=lambda p: residual[p])
    reason = describe(status[worst])
    remedy = (
        "the tolerance is below what the rounding of D / epsilon allows: raise tol or epsilon"
        if status[worst] & (Status.STAGNATED | Status.OVERFLOW)
        else "raise max_iter, epsilon or tol"
    )
    count = "" if len(status) == 1 else f" in {len(failed)} of {len(status)} problems"
    message = (
        f"Sinkhorn did not converge{count}: {reason} with residual {residual[worst]:.2e} > tol {tol:.0e}; {remedy}"
    )
    warn_once(ConvergenceWarning(message))


def _unwrap(x: Tensor) -> Tensor:
    """The tensor under the wrappers of ``torch.func``."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x


def _first(wrong: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in wrong.nonzero()[0])


def _mass_error(name: str, mass: Tensor, where: str) -> str | None:
    wrong = ~(mass >= 0) | mass.isinf()
    if not wrong.any():
        return None
    index = _first(wrong)
    return f"{name} must hold finite masses >= 0, got {name}{list(index)} = {float(mass[index])}{where}"


def _place(batch: tuple[int, ...], p: int) -> str:
    """Problem p by its place in the caller's batch."""
    index = []
    for size in reversed(batch):
        index.append(p % size)
        p //= size
    return f" (problem {tuple(reversed(index))})" if batch else ""


def _explain(problem: Problem, batch: tuple[int, ...], p: int, status: int) -> str:
    """One sentence with argument, expected and got for the gravest bit of problem p."""
    full = problem.batched()
    D, a, b, kappa = (cast("Tensor", x)[p].detach() for x in (full.D, full.a, full.b, full.kappa))
    mask = torch.ones_like(D, dtype=torch.bool) if full.mask is None else full.mask[p]
    where = _place(batch, p)
    if status & Status.INVALID_MASS:
        return _mass_error("a", a, where) or _mass_error("b", b, where) or f"the masses overflow{where}"
    if status & Status.NAN_COST:
        wrong = ~(-math.inf < D)
        if mask is not None:
            wrong &= mask
        index = _first(wrong)
        return f"D must hold numbers (or +inf to forbid a pair), got D{list(index)} = {float(D[index])}{where}"
    sides = kappa.tolist()
    if status & Status.INVALID_STRENGTH:
        if full.epsilon is None:
            mean = float(D[D.isfinite() & mask & (a > 0)[:, None] & (b > 0)].double().mean())
            return (
                f"epsilon=None takes 0.05 times the mean of D, which is {0.05 * mean:.3g}{where}; "
                "pass epsilon, or a D with a positive mean"
            )
        got = f"epsilon {float(cast('Tensor', full.epsilon)[p])}, kappa {sides}"
        return f"epsilon and kappa must be positive (epsilon finite), got {got}{where}"
    if status & Status.UNEQUAL_MASSES:
        return (
            "with both marginals hard (kappa=inf) a and b must have the same total (within 1e-3 relative), "
            f"got {float(a.double().sum()):.6g} and {float(b.double().sum()):.6g}{where}; "
            "normalise them or pass a finite kappa"
        )
    if status & Status.ISOLATED:
        allowed = D.isfinite() & mask
        for name, mass, free, kappa_of_side in (
            ("row", a, (allowed & (b > 0)).any(1), sides[0]),
            ("column", b, (allowed & (a > 0)[:, None]).any(0), sides[1]),
        ):
            wrong = (mass > 0) & ~free
            if math.isinf(kappa_of_side) and wrong.any():
                (k,) = _first(wrong)
                return (
                    f"{name} {k} of D has mass {float(mass[k]):.3g} but every pair is forbidden (+inf, masked, or "
                    f"a partner without mass){where}; allow a pair, drop the mass, or pass a finite kappa"
                )
    return f"init must hold finite potentials (-inf only where there is no mass), got NaN or +inf{where}"
