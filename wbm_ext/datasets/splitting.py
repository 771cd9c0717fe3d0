"""Which rows of a table of ratings are for test: at random, the latest, or one of each user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_vector, check_count, check_real, check_same_length


def split_rows(
    n: int,
    *,
    ratio: float | None = 0.2,
    users: Sequence[str] | NDArray | None = None,
    times: Any = None,
    random_state: int | np.random.Generator | None = None,
) -> NDArray[np.bool_]:
    """Return which rows are for test, bool (n,).

    Parameters
    ----------
    n : int
        Number of rows.
    ratio : float or None
        Share for test, in (0, 1): ``round(ratio * n)`` rows. None: one row of each user, of those with at least two.
    users : sequence, shape (n,), optional
        User of each row; needed where ``ratio`` is None.
    times : array, shape (n,), optional
        The latest rows are for test; of equal times the later row. Left out: rows at random.
    random_state : int, Generator or None

    Raises
    ------
    TypeError, ValueError
        Values that cannot be, lengths that differ, a part without a row.

    Examples
    --------
    >>> from wbm_ext.datasets.splitting import split_rows
    >>> split_rows(5, ratio=0.4, times=[3, 9, 1, 7, 2]).tolist()
    [False, True, False, True, False]
    >>> split_rows(5, ratio=None, users=list("aabba"), times=[1, 2, 9, 8, 0]).tolist()
    [False, True, True, False, False]
    """
    check_count("n", n)
    rng = np.random.default_rng(random_state)
    if times is None:
        order = rng.permutation(n)
    else:
        values = as_vector("times", times)
        check_same_length(rows=np.empty(n), times=values)
        order = np.argsort(values, kind="stable")
    test = np.zeros(n, dtype=bool)
    if ratio is not None:
        size = round(check_real("ratio", ratio, 0, 1) * n)
        test[order[n - size :]] = True
    else:
        if users is None:
            raise ValueError("users must be given where ratio is None (one row of each user); got None")
        labels = np.asarray(users)
        check_same_length(rows=np.empty(n), users=labels)
        _, who, counts = np.unique(labels, return_inverse=True, return_counts=True)
        last = np.zeros(len(counts), dtype=np.int64)
        last[who[order]] = order  # of each user the last in the order: later ones replace earlier
        test[last[counts > 1]] = True
    if test.all() or not test.any():
        raise ValueError(f"both parts must get a row; got {int(test.sum())} of {n} for test")
    return test
