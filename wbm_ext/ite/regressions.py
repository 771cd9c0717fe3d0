"""Statistical systems that are one regression on covariates and treatment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.statistical import seed_of
from wbm_ext.parameters import check_integer
from wbm_ext.training import Streams


class _OneRegression(EffectEstimator):
    """y regressed on [x, t], asked with t = 0 and t = 1."""

    def _regression(self, seed: int) -> Any:
        raise NotImplementedError

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        self.model_ = self._regression(seed_of(streams)).fit(np.column_stack([x, treated]), y)

    def _outcomes(self, x: NDArray) -> NDArray[np.float64]:
        return np.column_stack([self.model_.predict(np.column_stack([x, np.full(len(x), float(t))])) for t in (0, 1)])


@dataclass(kw_only=True, eq=False, repr=False)
class OLS(_OneRegression):
    """Least squares of y on [x, t]: one effect for all units, whose order is then no order.

    Collinear covariates (one-hot columns, constant ones) are no trouble: the solution of least norm is taken.
    Parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.
    """

    name: ClassVar[str] = "ols"

    def _regression(self, seed: int) -> Any:
        return LinearRegression()

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        super()._fit(x, y, treated, streams)
        self.standard_error_ = self._robust_error(x, y, treated)

    def _robust_error(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_]) -> float:
        """Return the standard error of the coefficient of t that holds for unequal variances (HC1; White 1980).

        With r the residual of t on [1, x], e that of the regression and p the rank of [1, x, t]:
        se² = n / (n - p) Σ r² e² / (Σ r²)².

        Raises
        ------
        ValueError
            The covariates tell the treatment exactly: then there is no effect to see.
        """
        design = np.column_stack([np.ones(len(x)), x])
        coefficients, _, rank, _ = np.linalg.lstsq(design, treated.astype(float), rcond=None)
        rest = treated - design @ coefficients
        scale = float(rest @ rest)
        if scale <= 1e-10 * len(x):
            raise ValueError(
                f"X: the {x.shape[1]} covariates tell the treatment exactly, so that its effect cannot be told from "
                "theirs; leave some out"
            )
        error = y - self.model_.predict(np.column_stack([x, treated]))
        freedom = len(x) - int(rank) - 1
        if freedom < 1:
            return float("inf")
        return float(np.sqrt(len(x) / freedom * (np.square(rest * error)).sum()) / scale)

    def _own_average_interval(self, x: NDArray, level: float) -> tuple[float, float]:
        value, reach = float(self.model_.coef_[-1]), float(norm.ppf((1 + level) / 2)) * self.standard_error_
        return value - reach, value + reach

    def _own_average_error(self, x: NDArray) -> float:
        return self.standard_error_

    def _effect(self, x: NDArray) -> NDArray[np.float64]:
        return np.full(len(x), float(self.model_.coef_[-1]))


@dataclass(kw_only=True, eq=False, repr=False)
class RandomForest(_OneRegression):
    """A random forest of y on [x, t] (scikit-learn's, with its defaults).

    Parameters
    ----------
    n_estimators, min_samples_leaf : int

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`; ``n_jobs`` also counts trees side by side.
    """

    n_estimators: int = 100
    min_samples_leaf: int = 1

    name: ClassVar[str] = "random-forest"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer("n_estimators", self.n_estimators)
        check_integer("min_samples_leaf", self.min_samples_leaf)

    def _regression(self, seed: int) -> Any:
        return RandomForestRegressor(
            self.n_estimators, min_samples_leaf=self.min_samples_leaf, n_jobs=self.n_jobs, random_state=seed
        )
