"""Random parts of fixed sizes, with the same share of every group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import check_real


def stratified_parts(
    strata: NDArray[np.int64], fractions: Sequence[float], random_state: int | np.random.Generator | None
) -> list[NDArray[np.int64]]:
    """Return the sorted positions of each part.

    Sizes are the shares of n by largest remainder; within the size of its part each stratum gets its share,
    again by largest remainder, the last one what remains.

    Parameters
    ----------
    strata : array of int, shape (n,)
    fractions : sequence of float
        Positive, with sum 1.
    random_state : int, Generator or None

    Raises
    ------
    TypeError, ValueError
        Fractions that are not numbers, not positive or do not sum to 1; a part without an entry.
    """
    if not isinstance(fractions, Sequence | np.ndarray) or isinstance(fractions, str):
        raise TypeError(f"fractions must be a sequence of numbers that sum to 1; got {fractions!r}")
    shares = [check_real(f"fractions[{place}]", share, 0, 1) for place, share in enumerate(fractions)]
    if not shares or min(shares) == 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and sum to 1; got {tuple(shares)}")
    n = len(strata)
    sizes = round_to_sum(np.array(shares) * n, n)
    if (sizes == 0).any():
        raise ValueError(f"fractions must leave an entry in each part; got sizes {sizes.tolist()} of {n}")
    rng = np.random.default_rng(random_state)
    part = np.empty(n, dtype=np.int64)
    left = sizes.copy()
    groups = np.unique(strata)[::-1]
    for group in groups:
        members = rng.permutation(np.flatnonzero(strata == group))
        counts = left if group == groups[-1] else round_to_sum(sizes * (len(members) / n), len(members))
        part[members] = np.repeat(np.arange(len(sizes)), counts)
        left = left - counts
    return [np.flatnonzero(part == place) for place in range(len(sizes))]


def round_to_sum(values: NDArray, total: int) -> NDArray[np.int64]:
    """Round non-negative ``values`` to integers of sum ``total`` by largest remainder (ties: the first)."""
    whole = np.floor(values + 1e-9).astype(np.int64)
    order = np.argsort(-(values - whole), kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return whole
