"""Matching: the outcomes of the nearest treated and the nearest untreated units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wbm_ext.ite.base import EffectEstimator
from wbm_ext.parameters import check_integer, check_number
from wbm_ext.training import Streams

_NUMBERS = (1, 2, 3, 5, 8, 13, 21, 34, 55)
_FOLDS = 5


@dataclass(kw_only=True, eq=False, repr=False)
class KNN(EffectEstimator):
    """y^_t = the mean outcome of the k nearest units of group t, Euclidean distance (Crump et al. 2008).

    A unit it was fitted on is its own nearest neighbour in its group. With covariates of different sizes, keep
    ``scale``. The bootstrap is not valid for the average of matched differences with a fixed number of neighbours
    (Abadie and Imbens 2008); take its intervals as a sign of stability.

    Parameters
    ----------
    n_neighbors : int or None
        k; a group with fewer units gives all of them. None: the k of 1, 2, 3, 5, 8, 13, 21, 34, 55 whose factual
        outcomes have the least squared error in five-fold cross-validation over both groups.

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.

    Attributes
    ----------
    n_neighbors_ : int
        The k used.
    """

    n_neighbors: int | None = None

    name: ClassVar[str] = "knn"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_neighbors is not None:
            check_integer("n_neighbors", self.n_neighbors)

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        self._match(self._coordinates(x), y, treated, streams)

    def _match(self, z: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        groups = ~treated, treated
        self.n_neighbors_ = self.n_neighbors or self._choose(z, y, groups, streams.numpy("folds"))
        self.models_ = [
            KNeighborsRegressor(min(self.n_neighbors_, int(group.sum())), n_jobs=self.n_jobs).fit(z[group], y[group])
            for group in groups
        ]

    def _choose(
        self, z: NDArray, y: NDArray, groups: tuple[NDArray[np.bool_], NDArray[np.bool_]], rng: np.random.Generator
    ) -> int:
        """Return the number of neighbours of least squared error on units that are not among them."""
        errors = np.zeros(len(_NUMBERS))
        for group in groups:
            folds = np.array_split(rng.permutation(np.flatnonzero(group)), min(_FOLDS, int(group.sum())))
            for held in folds if len(folds) > 1 else []:
                others = np.setdiff1d(np.flatnonzero(group), held)
                most = min(_NUMBERS[-1], len(others))
                near = NearestNeighbors(n_neighbors=most, n_jobs=self.n_jobs).fit(z[others])
                nearest = y[others][near.kneighbors(z[held], return_distance=False)]
                means = nearest.cumsum(1) / np.arange(1, most + 1)
                for place, number in enumerate(_NUMBERS):
                    errors[place] += np.square(means[:, min(number, most) - 1] - y[held]).sum()
        return _NUMBERS[int(errors.argmin())]

    def _coordinates(self, x: NDArray) -> NDArray[np.float64]:
        """Return what units are compared in."""
        return x

    def _outcomes(self, x: NDArray) -> NDArray[np.float64]:
        z = self._coordinates(x)
        return np.column_stack([model.predict(z) for model in self.models_])


@dataclass(kw_only=True, eq=False, repr=False)
class PSM(KNN):
    """Matching on the logit of a propensity score (Rosenbaum and Rubin 1983): logistic regression on scaled covariates.

    Parameters
    ----------
    C : float
        Inverse strength of the regression's ridge penalty, as in scikit-learn.

    Other parameters: :class:`KNN`.
    """

    C: float = 1.0

    name: ClassVar[str] = "psm"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("C", self.C, above=0)

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        self.propensity_model_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000))
        self.propensity_model_.fit(x, treated)
        super()._fit(x, y, treated, streams)

    def _coordinates(self, x: NDArray) -> NDArray[np.float64]:
        return self.propensity_model_.decision_function(x)[:, None]
