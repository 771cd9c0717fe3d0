"""One draw of who is observed: models fitted to it, features, weights as given, and the error of every estimator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from python_benchmarks.known_truth.controls import effective_size
from python_benchmarks.known_truth.factors import factorise, observation_model
from python_benchmarks.known_truth.world import DENSITY, given_weights, predictions, true_propensity

Array = NDArray[np.float64]

ESTIMATORS = ("IPS", "SNIPS", "DR", "DR-MF")
UNWEIGHTED = ("naive", "EIB", "EIB-MF")
LOSSES = ("absolute", "squared")


class Draw:
    """Observations of a known matrix, and all that is fitted to them.

    Attributes
    ----------
    keys : array, shape (n,)
        Observed pairs as positions in the flattened matrix.
    imputed : array, shape (n_users, n_items)
        r^, ratings by a factorisation of the observed ratings.
    learned : array, shape (n_users, n_items)
        Propensities of the observation model.
    given : dict
        Kind of propensity -> weights of the observed pairs, see ``world.given_weights``.
    predicted : dict
        Name -> predicted ratings: the six matrices of the protocol, and "fitted", a factorisation fitted to this draw.
    """

    def __init__(self, truth: Array, selection: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        p = true_propensity(truth, selection)
        observed = rng.random(truth.shape) < p
        self.truth, self.seed = truth, seed
        self.users, self.items = np.nonzero(observed)
        self.keys = self.users * truth.shape[1] + self.items
        self.ratings = truth[observed]
        model = factorise(self.users, self.items, self.ratings, truth.shape, rank=6, ridge=4.0, seed=seed)
        self.imputed = np.clip(model.matrix(), 1, 5)
        self.learned = observation_model(observed, seed=seed)
        self.predicted = predictions(truth, rng)
        fitted = factorise(
            self.users, self.items, self.ratings, truth.shape, rank=3, ridge=8.0, sweeps=4, seed=seed + 1
        )
        self.predicted["fitted"] = np.clip(fitted.matrix(), 1, 5)
        self.given = given_weights(p[observed], self.learned[observed], DENSITY, rng)
        self._user = np.c_[model.user_bias, model.user_factors]
        self._item = np.c_[model.item_bias, model.item_factors]
        both = np.stack([self.imputed, np.log(self.learned)], -1).reshape(-1, 2)
        self._pair = (both - both.mean(0)) / both.std(0)
        self._items = {
            (name, loss): self._parts(np.abs(truth - y) if loss == "absolute" else (truth - y) ** 2, y, loss)
            for name, y in self.predicted.items()
            for loss in LOSSES
        }

    def features(self, kind: str) -> Array:
        """Features of the observed pairs: "embeddings", as WBM takes them, or "rating, propensity": (r^, log q^)."""
        if kind == "embeddings":
            return np.c_[self._user[self.users], self._item[self.items]]
        return self._pair[self.keys]

    def sample(self, kind: str, size: int, rng: np.random.Generator) -> Array:
        """The same of random pairs of the whole space."""
        if kind == "embeddings":
            users, items = rng.integers(len(self._user), size=size), rng.integers(len(self._item), size=size)
            return np.c_[self._user[users], self._item[items]]
        return self._pair[rng.integers(len(self._pair), size=size)]

    def mean(self, kind: str) -> Array:
        """Their mean over the whole space."""
        return np.r_[self._user.mean(0), self._item.mean(0)] if kind == "embeddings" else self._pair.mean(0)

    def variance(self, kind: str) -> float:
        """Their variance over the whole space, summed."""
        if kind == "embeddings":
            return float(self._user.var(0).sum() + self._item.var(0).sum())
        return float(self._pair.var(0).sum())

    def _parts(self, errors: Array, y: Array, loss: str) -> tuple[float, Array, float, Array, float, Array]:
        """True mean error, observed errors; mean and observed values of two imputations of the error.

        By regression on r^, y^ and their squares, product and distance over the observed pairs, and by r^ in the place
        of r ("MF").
        """
        r, (e, o) = self.imputed, (errors.ravel(), self.keys)
        columns = [np.ones_like(r), r, y, np.abs(r - y), r * r, y * y, r * y]
        basis = np.stack([column.ravel() for column in columns], 1)
        h = np.maximum(basis @ np.linalg.lstsq(basis[o], e[o], rcond=None)[0], 0)
        m = (np.abs(r - y) if loss == "absolute" else (r - y) ** 2).ravel()
        return float(e.mean()), e[o], float(h.mean()), h[o], float(m.mean()), m[o]

    def errors(self, w: Array, name: str, loss: str) -> dict[str, float]:
        """|estimate - truth| / truth of the weighted estimators; weights on the scale of 1/q, DR self-normalised."""
        true, e, h_all, h, m_all, m = self._items[name, loss]
        share = w / w.sum()
        found = (w @ e / self.truth.size, share @ e, h_all + share @ (e - h), m_all + share @ (e - m))
        return {estimator: abs(value - true) / true for estimator, value in zip(ESTIMATORS, found, strict=True)}

    def unweighted_errors(self, name: str, loss: str) -> dict[str, float]:
        """The same of the naive mean, and of the imputation of what is not observed (EIB)."""
        true, e, h_all, h, m_all, m = self._items[name, loss]
        size = self.truth.size
        found = (e.mean(), h_all + (e - h).sum() / size, m_all + (e - m).sum() / size)
        return {estimator: abs(value - true) / true for estimator, value in zip(UNWEIGHTED, found, strict=True)}

    def system_error(self, w: Array) -> float:
        """Mean squared error over the whole matrix of a factorisation trained on the weighted ratings."""
        model = factorise(
            self.users, self.items, self.ratings, self.truth.shape, rank=6, ridge=4.0, weights=w, seed=self.seed
        )
        return float(np.square(np.clip(model.matrix(), 1, 5) - self.truth).mean())

    def about(self, w: Array) -> Mapping[str, float]:
        """Effective sample size, largest over mean weight, and the weighted features' variance over the target's."""
        share = w / w.sum()
        x = self.features("embeddings")
        spread = share @ np.square(x - share @ x).sum(1)
        return {
            "ess": effective_size(w),
            "max_over_mean": float(w.max() / w.mean()),
            "min_over_mean": float(w.min() / w.mean()),
            "variance_ratio": float(spread / self.variance("embeddings")),
        }
