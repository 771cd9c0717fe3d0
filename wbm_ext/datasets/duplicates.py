"""Pairs that occur more than once: one rating of each, by a named rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wbm_ext.errors import DatasetError, check_name

RULES = ("error", "first", "last", "mean", "max")


def merge(
    users: NDArray,
    items: NDArray,
    ratings: NDArray,
    n_items: int,
    rule: str,
    where: object,
    pair_at: Callable[[int], str] | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the pairs, each once, with one rating; in the order of their first occurrence.

    Parameters
    ----------
    users, items, ratings : array, shape (n,)
    n_items : int
        Above every item id.
    rule : {"error", "first", "last", "mean", "max"}
        Which rating a repeated pair keeps; ``"error"`` refuses it. The mean is one of float64, also of integers.
    where : object
        Name of the file for the error message.
    pair_at : callable, position -> str, optional
        Describes the pair there as the user knows it; default by its ids.

    Raises
    ------
    DatasetError
        A repeated pair with ``"error"``; the message holds it.
    """
    check_name("duplicates", rule, RULES)
    keys = users.astype(np.int64) * n_items + items
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return users, items, ratings
    del ordered
    # stable: within a pair the rows keep their order
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[order][1:] != keys[order][:-1]]))
    if rule == "error":
        again = int(order[np.setdiff1d(np.arange(len(order)), starts)[0]])
        pair = (
            f"(user {users[again]}, item {items[again]}) again in row {again + 1}"
            if pair_at is None
            else pair_at(again)
        )
        raise DatasetError(
            f"{where}: each pair must occur once; got {pair}; choose another rule than duplicates='error' to merge them"
        )
    ends = np.concatenate([starts[1:], [len(order)]])
    if rule in ("first", "last"):
        kept = ratings[order[starts if rule == "first" else ends - 1]]
    elif rule == "max":
        kept = np.maximum.reduceat(ratings[order], starts)
    else:
        kept = np.add.reduceat(ratings[order].astype(np.float64), starts) / (ends - starts)
    first = order[starts]
    back = np.argsort(first)
    return users[first[back]], items[first[back]], kept[back]
