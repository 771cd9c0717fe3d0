"""What callers hand to the estimators, turned into checked arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from wbm_ext.datasets import Ratings
from wbm_ext.datasets._arrays import on_host


def as_ratings(users: Any, items: Any, ratings: Any) -> Ratings:
    """Return a :class:`Ratings` from one (as the first argument, or as ``ratings``), or from three arrays.

    Raises
    ------
    TypeError
        If neither form is given. :class:`Ratings` itself raises on arrays it cannot use.
    """
    given = [value for value in (users, items, ratings) if value is not None]
    if len(given) == 1 and isinstance(given[0], Ratings):
        return given[0]
    if len(given) < 3 or any(isinstance(value, Ratings) for value in given):
        got = ", ".join(type(value).__name__ for value in given) or "nothing"
        raise TypeError(
            f"expected one wbm_ext.datasets.Ratings or the three arrays users, items, ratings; got {got}{_hint(given)}"
        )
    return Ratings(users, items, ratings)


def _hint(given: list[Any]) -> str:
    """Return what to do with the one thing that was given, where it has what is needed."""
    if len(given) == 1 and hasattr(given[0], "columns"):
        return "; wbm_ext.datasets.read_ratings(table, user=..., item=..., rating=...) reads a table"
    if len(given) == 1 and isinstance(getattr(given[0], "train", None), Ratings):
        return "; pass its .train, and its .test to score"
    return ""


def positives(ratings: Ratings, threshold: float) -> np.ndarray:
    """Return y = 1[rating >= threshold], bool (n,)."""
    return ratings.binarize(threshold) > 0


def check_both_classes(labels: np.ndarray, threshold: float) -> None:
    """Raise if there are no labels or all are the same: nothing can be learnt from them."""
    if not len(labels):
        raise ValueError("ratings must hold at least one rating; got none")
    if labels.all() or not labels.any():
        side = "at least" if labels.all() else "below"
        raise ValueError(
            f"ratings must hold both classes; with threshold={threshold:g} all {len(labels)} of them are {side} it"
        )


def check_ids(argument: str, values: Any, count: int) -> np.ndarray:
    """Return ``values`` as int64 (n,) if all lie in 0 .. count - 1, else raise naming the first outside."""
    array = np.atleast_1d(np.asarray(sorted(values) if isinstance(values, set | frozenset) else on_host(values)))
    if array.ndim != 1:
        raise ValueError(f"{argument} must be one-dimensional; got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{argument} must hold integers; got dtype {array.dtype}")
    bad = np.flatnonzero((array < 0) | (array >= count)) if array.size else []
    if len(bad):
        raise ValueError(
            f"{argument} must lie in 0..{count - 1} (known from fit); got {int(array[bad[0]])} at position {bad[0]}"
        )
    return array.astype(np.int64)


def check_pairs(users: Any, items: Any, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return users and items as int64 of one length; a single user or item is repeated."""
    checked = check_ids("users", users, n_users), check_ids("items", items, n_items)
    try:
        broadcast = np.broadcast_arrays(*checked)
    except ValueError:
        lengths = f"{len(checked[0])} and {len(checked[1])}"
        raise ValueError(f"users and items must have the same length; got {lengths}") from None
    return np.ascontiguousarray(broadcast[0]), np.ascontiguousarray(broadcast[1])
