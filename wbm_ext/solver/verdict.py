"""Reading a status: an error for a refused input, a warning for a solve that did not converge."""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext.errors import ConvergenceWarning, warn_once
from wbm_ext.solver.arguments import Arguments
from wbm_ext.solver.status import REFUSED, Status, describe


def _problem(arguments: Arguments, p: int) -> str:
    if not arguments.batch:
        return ""
    index = torch.unravel_index(torch.tensor(p), arguments.batch)
    return f" (problem {tuple(int(i) for i in index)})"


def _first(wrong: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in wrong.nonzero()[0])


def _mass_error(name: str, mass: Tensor, where: str) -> str | None:
    wrong = ~(mass >= 0) | mass.isinf()
    if not wrong.any():
        return None
    index = _first(wrong)
    return f"{name} must hold finite masses >= 0, got {name}{list(index)} = {float(mass[index])}{where}"


def _explain(arguments: Arguments, epsilon: Tensor, p: int, status: int) -> str:
    """One sentence with argument, expected and got for the gravest bit of problem p."""
    *data, masks = arguments.flat_data()
    cost, a, b = (x[p].detach() for x in data)
    mask = None if masks is None else masks[p]
    where = _problem(arguments, p)
    if status & Status.INVALID_MASS:
        return _mass_error("a", a, where) or _mass_error("b", b, where) or f"the masses overflow{where}"
    if status & Status.NAN_COST:
        wrong = ~(cost > -float("inf"))
        if mask is not None:
            wrong &= mask
        index = _first(wrong)
        return f"D must hold numbers (or +inf to forbid a pair), got D{list(index)} = {float(cost[index])}{where}"
    if status & Status.INVALID_STRENGTH:
        strength, pair = float(epsilon[p]), arguments.kappas()[p].tolist()
        if arguments.epsilon is None:
            return (
                f"epsilon=None takes 0.05 times the mean of D, which is {strength:.3g}{where}; "
                "pass epsilon, or a D with a positive mean"
            )
        return f"epsilon and kappa must be positive (epsilon finite), got epsilon {strength}, kappa {pair}{where}"
    if status & Status.UNEQUAL_MASSES:
        return (
            "with both marginals hard (kappa=inf) a and b must have the same total (within 1e-3 relative), "
            f"got {float(a.double().sum()):.6g} and {float(b.double().sum()):.6g}{where}; "
            "normalise them or pass a finite kappa"
        )
    if status & Status.ISOLATED:
        allowed = cost.isfinite() if mask is None else cost.isfinite() & mask
        hard = arguments.kappas()[p].isinf().tolist()
        for name, mass, free, is_hard in (
            ("row", a, (allowed & (b > 0)).any(1), hard[0]),
            ("column", b, (allowed & (a > 0)[:, None]).any(0), hard[1]),
        ):
            wrong = (mass > 0) & ~free
            if is_hard and wrong.any():
                (k,) = _first(wrong)
                return (
                    f"{name} {k} of D has mass {float(mass[k]):.3g} but every pair is forbidden (+inf, masked, or "
                    f"a partner without mass){where}; allow a pair, drop the mass, or pass a finite kappa"
                )
    return f"init must hold finite potentials (-inf only where there is no mass), got NaN or +inf{where}"


def _unwrap(x: Tensor) -> Tensor:
    """The tensor under the wrappers of ``torch.func``."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x


def judge_wrapped(arguments: Arguments, status: Tensor, residual: Tensor) -> None:
    """:func:`judge` inside ``torch.func`` transforms, where the values have no place in the caller's batch.

    Raises
    ------
    ValueError
        With the status in words, for a refused problem.
    """
    bits, errors = _unwrap(status).flatten().tolist(), _unwrap(residual).flatten().tolist()
    for s in bits:
        if s & REFUSED:
            raise ValueError(f"a problem inside torch.func was refused: {describe(s & REFUSED)}")
    if arguments.tol > 0:
        _warn(arguments, bits, errors)


def _warn(arguments: Arguments, bits: list[int], residual: list[float]) -> None:
    failed = [p for p, s in enumerate(bits) if not s & Status.CONVERGED]
    if not failed:
        return
    worst = max(failed, key=lambda p: residual[p])
    reason = describe(bits[worst])
    remedy = (
        "the tolerance is below what the rounding of D / epsilon allows: raise tol or epsilon"
        if bits[worst] & (Status.STAGNATED | Status.OVERFLOW)
        else "raise max_iter, epsilon or tol"
    )
    count = "" if len(bits) == 1 else f" in {len(failed)} of {len(bits)} problems"
    message = (
        f"Sinkhorn did not converge{count}: {reason} with residual {residual[worst]:.2e} > tol "
        f"{arguments.tol:.0e}; {remedy}"
    )
    warn_once(ConvergenceWarning(message))


def judge(arguments: Arguments, epsilon: Tensor, status: Tensor, residual: Tensor) -> None:
    """Raise for a refused problem, warn for one above its tolerance. Reads the device.

    Raises
    ------
    ValueError
        Naming argument, expected and got, for the first refused problem of the batch.
    """
    bits = status.flatten().tolist()
    if all(s & Status.CONVERGED and not s & REFUSED for s in bits):
        return
    for p, s in enumerate(bits):
        if s & REFUSED:
            raise ValueError(_explain(arguments, epsilon.flatten(), p, s))
    if arguments.tol > 0:
        _warn(arguments, bits, residual.flatten().tolist())
