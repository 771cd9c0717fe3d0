"""One data set of the debiasing literature: biased training ratings, unbiased test ratings, covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_array, as_ids, as_propensity, check_real, check_same_length, reject
from wbm_ext.datasets.ratings import Ratings, overlap
from wbm_ext.errors import DatasetError


@dataclass(frozen=True, eq=False, repr=False)
class RatingsDataset:
    """Ratings with what is known about how they came to be observed.

    Parameters
    ----------
    name : str
    train : Ratings
        Self-selected (biased) ratings.
    test : Ratings
        Ratings of randomly chosen pairs (unbiased), over the same users and items.
    user_features : array, shape (n_users, p), optional
        Stored as float32, as are the item features.
    item_features : array, shape (n_items, q), optional
    propensities : array, shape (n_users, n_items), optional
        P(observed) of each pair, in (0, 1]: the true one, or the one published with the data. Float64.
    truth : array, shape (n_users, n_items), optional
        Rating of every pair; known for generated data only. Float32.
    threshold : float
        A rating of at least this counts as positive, y = 1[rating >= threshold].
    licence, source : str
        Terms of use and origin, one line each.

    Raises
    ------
    TypeError, ValueError
        Parts whose shapes do not fit ``train``, values that are not finite, propensities outside (0, 1].
    """

    name: str
    train: Ratings
    test: Ratings
    user_features: NDArray[np.float32] | None = None
    item_features: NDArray[np.float32] | None = None
    propensities: NDArray[np.float64] | None = None
    truth: NDArray[np.float32] | None = None
    threshold: float = 3.0
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            if not isinstance(getattr(self, part), Ratings):
                raise TypeError(f"{part} must be Ratings; got {type(getattr(self, part)).__name__}")
        pairs = (self.n_users, self.n_items)
        if (self.test.n_users, self.test.n_items) != pairs:
            raise ValueError(
                f"test must have the pairs of train, {self.n_users} x {self.n_items}; "
                f"got {self.test.n_users} x {self.test.n_items}"
            )
        shapes = {
            "user_features": (self.n_users, None),
            "item_features": (self.n_items, None),
            "propensities": pairs,
            "truth": pairs,
        }
        for part, shape in shapes.items():
            value = getattr(self, part)
            if value is not None:
                object.__setattr__(self, part, _matrix(part, value, shape))
        object.__setattr__(self, "threshold", check_real("threshold", self.threshold))

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.train.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.train.n_items

    def pair_features(self, users: Any, items: Any) -> NDArray[np.float32]:
        """Return the features of pairs, ``[user_features[u], item_features[i]]``, float32 (n, p + q).

        Parameters
        ----------
        users, items : array of int, shape (n,)

        Raises
        ------
        DatasetError
            The data set has no user or no item features.
        TypeError, ValueError
            Ids that are not integers or out of range, lengths that differ.
        """
        lacking = [part for part in ("user_features", "item_features") if getattr(self, part) is None]
        if lacking:
            raise DatasetError(
                f"pair_features needs user_features and item_features; got None for {' and '.join(lacking)} "
                f"of data set {self.name!r}"
            )
        users, items = as_ids("users", users, self.n_users), as_ids("items", items, self.n_items)
        check_same_length(users=users, items=items)
        return np.concatenate([self.user_features[users], self.item_features[items]], axis=1)

    def describe(self) -> str:
        """Return sizes, shares of positives and origin as a few lines of text."""
        lines = [f"{self.name}: {self.n_users} users x {self.n_items} items"]
        for part in ("train", "test"):
            ratings = getattr(self, part)
            positive = float(ratings.binarize(self.threshold).mean()) if len(ratings) else float("nan")
            lines.append(
                f"  {part:<5} {len(ratings)} ratings, density {ratings.density:.3%}, "
                f"P(rating >= {self.threshold:g}) {positive:.3f}"
            )
        lines.append(f"  overlap {int(overlap(self.train, self.test).sum())} test pairs also in train")
        for part in ("user_features", "item_features", "propensities", "truth"):
            value = getattr(self, part)
            lines.append(f"  {part}: {'none' if value is None else ' x '.join(map(str, value.shape))}")
        lines.append(f"  licence: {self.licence or 'not given'}")
        lines.append(f"  source: {self.source or 'not given'}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"RatingsDataset({self.name!r}, train={self.train!r}, test={self.test!r})"


def _matrix(part: str, value: Any, shape: tuple[int, int | None]) -> NDArray:
    array = as_array(part, value)
    if array.ndim != 2 or array.shape[0] != shape[0] or shape[1] not in (None, array.shape[1]):
        columns = "any" if shape[1] is None else shape[1]
        raise ValueError(f"{part} must have shape ({shape[0]}, {columns}); got {array.shape}")
    if part == "propensities":
        return as_propensity(part, array)
    stored = array.astype(np.float32)
    reject(part, ~np.isfinite(stored), array, "values must be finite")
    return stored
