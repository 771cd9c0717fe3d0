"""Ratings as a list of (user, item, rating): the one form in which models and metrics take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import (
    as_array,
    as_ids,
    as_vector,
    check_count,
    check_real,
    check_same_length,
    reject,
)
from wbm_ext.datasets.labels import as_labels
from wbm_ext.errors import check_name


@dataclass(frozen=True, eq=False, repr=False)
class Ratings:
    """Observed ratings of user-item pairs; each pair at most once.

    The full set of pairs D has ``n_users * n_items`` members and is never laid out. The arrays given are
    copied, so later changes to them do not reach the object.

    Parameters
    ----------
    users, items : array of int, shape (n,)
        Zero-based ids. Lists, numpy arrays and torch tensors are taken; stored as int64.
    ratings : array of float, shape (n,)
        One rating a pair, in the unit of the data set (stars, watch ratio); stored as float32.
    n_users, n_items : int, optional
        Size of D. Left out: the largest id plus one.
    scale : (float, float), optional
        Lowest and highest rating allowed, e.g. ``(1, 5)``. Left out: any finite number.
    user_labels, item_labels : array of str, shape (n_users,) and (n_items,), optional
        What the user calls the ids 0, 1, ...: different strings, sorted.

    Raises
    ------
    TypeError
        Ids that are not integers, values that are not numbers.
    ValueError
        Lengths that differ, arrays that are not 1-d, an id out of range, a rating that is not finite or
        outside ``scale``, a pair that occurs twice. The message holds the first offending position.

    Examples
    --------
    >>> from wbm_ext.datasets import Ratings
    >>> Ratings([0, 0, 1], [0, 2, 1], [5, 1, 3], scale=(1, 5))
    Ratings(n=3, n_users=2, n_items=3, density=0.5)
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32]
    n_users: int | None = None
    n_items: int | None = None
    scale: tuple[float, float] | None = None
    user_labels: NDArray[np.str_] | None = None
    item_labels: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        for ids, count in (("users", "n_users"), ("items", "n_items")):
            given = getattr(self, count)
            array = as_ids(ids, getattr(self, ids), None if given is None else check_count(count, given))
            if given is None and array.size == 0:
                raise ValueError(f"{count} must be given when {ids} is empty; got None, and no rating")
            set_field(self, ids, array)
            set_field(self, count, int(array.max()) + 1 if given is None else int(given))
        values = as_vector("ratings", self.ratings)
        check_same_length(users=self.users, items=self.items, ratings=values)
        with np.errstate(over="ignore"):
            stored = values.astype(np.float32)
        reject("ratings", ~np.isfinite(stored), values, "ratings must be finite float32 numbers")
        if self.scale is not None:
            low, high = _check_scale(self.scale)
            set_field(self, "scale", (low, high))
            outside = (stored < np.float32(low)) | (stored > np.float32(high))
            reject("ratings", outside, values, f"ratings out of range [{low:g}, {high:g}] (scale)")
        set_field(self, "ratings", stored)
        for name, count in (("user_labels", self.n_users), ("item_labels", self.n_items)):
            if getattr(self, name) is not None:
                set_field(self, name, _check_labels(name, getattr(self, name), count))
        self._check_unique()

    def _check_unique(self) -> None:
        if self.n_users * self.n_items > np.iinfo(np.int64).max:
            raise ValueError(f"n_users * n_items must stay below 2**63; got {self.n_users} * {self.n_items}")
        keys = self._keys()
        ordered = np.sort(keys)
        if (ordered[1:] == ordered[:-1]).any():
            order = np.argsort(keys, kind="stable")
            again = keys[order][1:] == keys[order][:-1]
            position = int(order[1:][again].min())
            user, item = int(self.users[position]), int(self.items[position])
            raise ValueError(
                f"users, items: each pair must occur once; got (user {user}, item {item}) again at position {position}"
            )

    def _keys(self) -> NDArray[np.int64]:
        return self.users * self.n_items + self.items

    @classmethod
    def from_matrix(cls, matrix: Any, missing: float = 0, *, scale: tuple[float, float] | None = None) -> Ratings:
        """Take the entries of a full matrix that differ from ``missing``, row by row.

        Parameters
        ----------
        matrix : array, shape (n_users, n_items)
        missing : float
            The mark of an unobserved pair; ``float("nan")`` is possible.
        scale : (float, float), optional
            As for the class.
        """
        missing = float("nan") if missing != missing else check_real("missing", missing)
        array = as_array("matrix", matrix)
        if array.ndim != 2:
            raise ValueError(f"matrix must be 2-d, shape (n_users, n_items); got shape {array.shape}")
        observed = ~np.isnan(array) if np.isnan(missing) else array != missing
        users, items = np.nonzero(observed)
        return cls(users, items, array[observed], *array.shape, scale=scale)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        *,
        n_users: int | None = None,
        n_items: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Ratings:
        """Take three columns of a table (pandas DataFrame, or any mapping of column name to values).

        Parameters
        ----------
        frame : table with ``frame[name]`` and ``frame.columns`` or ``frame.keys()``
        user, item, rating : str
            Names of the columns.
        n_users, n_items, scale
            As for the class.

        Raises
        ------
        UnknownNameError
            A column that is not there; the message holds the nearest one.
        """
        columns = list(frame.columns if hasattr(frame, "columns") else frame.keys())
        for argument, name in (("user", user), ("item", item), ("rating", rating)):
            if name not in columns:
                check_name(f"column {argument}", name, map(str, columns))
        return cls(frame[user], frame[item], frame[rating], n_users, n_items, scale)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        sizes = f"n={len(self)}, n_users={self.n_users}, n_items={self.n_items}"
        return f"Ratings({sizes}, density={self.density:.4g})"

    @property
    def density(self) -> float:
        """Share of the pairs that is observed, n / (n_users * n_items)."""
        return len(self) / (self.n_users * self.n_items)

    def binarize(self, threshold: float) -> NDArray[np.float32]:
        """Return the labels 1[rating >= threshold], float32 (n,)."""
        return (self.ratings >= np.float32(check_real("threshold", threshold))).astype(np.float32)

    def observed_keys(self) -> NDArray[np.int64]:
        """Return ``users * n_items + items``, sorted, int64 (n,): the observed set for membership tests."""
        return np.sort(self._keys())

    def subset(self, index: Any) -> Ratings:
        """Return the ratings at ``index`` (boolean mask of length n, or positions) with the same D.

        Raises
        ------
        ValueError
            A mask of another length, a position outside [0, n), a position named twice.
        """
        array = as_vector("index", index)
        if array.dtype.kind == "b":
            if len(array) != len(self):
                raise ValueError(f"index: a mask must have length {len(self)}; got {len(array)}")
            array = np.flatnonzero(array)
        array = as_ids("index", array, len(self))
        return replace(self, users=self.users[array], items=self.items[array], ratings=self.ratings[array])

    def split(self, fraction: float, random_state: int | np.random.Generator | None = None) -> tuple[Ratings, Ratings]:
        """Split at random into ``round(fraction * n)`` ratings and the rest; both keep the order and D.

        Parameters
        ----------
        fraction : float
            Share of the first part, in (0, 1); both parts must get a rating.
        random_state : int, Generator or None
            Seed of :func:`numpy.random.default_rng`.
        """
        size = round(check_real("fraction", fraction, 0, 1) * len(self))
        if not 0 < size < len(self):
            raise ValueError(
                f"fraction must leave a rating in both parts of {len(self)}; got {fraction!r}, i.e. {size}"
            )
        chosen = np.zeros(len(self), dtype=bool)
        chosen[np.random.default_rng(random_state).permutation(len(self))[:size]] = True
        return self.subset(chosen), self.subset(~chosen)


def overlap(train: Ratings, test: Ratings) -> NDArray[np.bool_]:
    """Return which pairs of ``test`` also are in ``train``, bool (n_test,).

    A model has seen the answer for these; report metrics with and without them.

    Raises
    ------
    ValueError
        The two have different ``n_users`` or ``n_items``.
    """
    if (train.n_users, train.n_items) != (test.n_users, test.n_items):
        raise ValueError(
            f"test must have the pairs of train, {train.n_users} x {train.n_items}; got {test.n_users} x {test.n_items}"
        )
    return np.isin(test._keys(), train._keys())


def _check_scale(scale: Any) -> tuple[float, float]:
    try:
        low, high = scale
    except (TypeError, ValueError):
        raise TypeError(f"scale must be a pair (low, high); got {scale!r}") from None
    low, high = check_real("scale[0]", low), check_real("scale[1]", high)
    if low > high:
        raise ValueError(f"scale must be a pair with low <= high; got ({low:g}, {high:g})")
    return low, high


def _check_labels(name: str, values: Any, count: int) -> NDArray[np.str_]:
    labels = as_labels(name, values)
    if len(labels) != count:
        raise ValueError(f"{name} must be {count} strings, one an id; got {len(labels)}")
    if (labels[1:] <= labels[:-1]).any():
        raise ValueError(f"{name} must be sorted and different; got {str(labels[1:][labels[1:] <= labels[:-1]][0])!r}")
    return labels
