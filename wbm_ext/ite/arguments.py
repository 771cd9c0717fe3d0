"""What callers hand to ``fit``, as checked arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_binary, as_vector, check_same_length, reject


def as_outcome(argument: str, y: Any) -> NDArray[np.float64]:
    """Return finite outcomes, float64 (n,), else raise TypeError or ValueError."""
    array = as_vector(argument, y).astype(np.float64)
    reject(argument, ~np.isfinite(array), array, "outcomes must be finite")
    return array


def as_treatment(argument: str, treatment: Any) -> NDArray[np.bool_]:
    """Return the treatment as bool (n,), True = treated, else raise TypeError or ValueError."""
    return as_binary(argument, as_vector(argument, treatment))


def check_training(
    x: NDArray[np.float64], y: Any, treatment: Any, *, least: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return outcomes and treatment of the length of ``x``, both groups present.

    Raises
    ------
    TypeError, ValueError
        Values that are not finite, a treatment other than 0 and 1, other lengths, fewer than ``least`` units in
        a group.
    """
    outcomes, treated = as_outcome("y", y), as_treatment("treatment", treatment)
    check_same_length(X=x, y=outcomes, treatment=treated)
    for group, count in (("treated", int(treated.sum())), ("untreated", int((~treated).sum()))):
        if count < least:
            raise ValueError(
                f"treatment must hold at least {least} {group} unit(s): without both groups there is no effect to "
                f"learn; got {count} of {len(treated)}"
            )
    return outcomes, treated
