"""Matching: the outcomes of the nearest treated and the nearest untreated units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wbm_ext.ite.base import EffectEstimator
from wbm_ext.parameters import check_integer, check_number
from wbm_ext.training import Streams


@dataclass(kw_only=True, eq=False, repr=False)
class KNN(EffectEstimator):
    """y^_t = the mean outcome of the ``n_neighbors`` nearest units of group t, Euclidean distance (Crump et al. 2008).

    A unit it was fitted on is its own nearest neighbour in its group. With covariates of different sizes, set
    ``scale``. The bootstrap is not valid for the average of matched differences with a fixed number of neighbours
    (Abadie and Imbens 2008); take its intervals as a sign of stability.

    Parameters
    ----------
    n_neighbors : int
        A group with fewer units gives all of them.

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.
    """

    n_neighbors: int = 5

    name: ClassVar[str] = "knn"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer("n_neighbors", self.n_neighbors)

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        self._match(self._coordinates(x), y, treated)

    def _match(self, z: NDArray, y: NDArray, treated: NDArray[np.bool_]) -> None:
        groups = ~treated, treated
        self.models_ = [
            KNeighborsRegressor(min(self.n_neighbors, int(group.sum())), n_jobs=self.n_jobs).fit(z[group], y[group])
            for group in groups
        ]

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

    Other parameters: :class:`KNN`, here with one neighbour.
    """

    n_neighbors: int = 1
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
