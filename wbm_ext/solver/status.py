"""What a solve says about itself, one set of bits per problem."""

from __future__ import annotations

from enum import IntFlag


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
