"""Causal and orthogonal forests, thin over EconML (extra ``baselines``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from wbm_ext.errors import require_extra
from wbm_ext.ite.average import AverageEffect
from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.statistical import seed_of
from wbm_ext.parameters import check_integer, check_number
from wbm_ext.training import Streams, fingerprint

_EXTRA = "baselines"


@contextmanager
def _global_generator(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, from which EconML's orthogonal trees draw, and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@dataclass(kw_only=True, eq=False, repr=False)
class _Forest(EffectEstimator):
    """A forest of effects τ(x), and two plain forests for outcomes and propensities.

    m(x) = E[y | x] and e(x) = P(treated | x) give the outcomes: y^_0 = m - e τ, y^_1 = y^_0 + τ.
    """

    n_estimators: int = 100
    min_samples_leaf: int = 5

    _least_in_group: ClassVar[int] = 2

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer("n_estimators", self.n_estimators)
        check_integer("min_samples_leaf", self.min_samples_leaf)

    def _forest(self, seed: int) -> Any:
        """Return an unfitted estimator of EconML's."""
        raise NotImplementedError

    def _nuisances(self, seed: int) -> tuple[Any, Any]:
        """Return unfitted forests for m and e."""
        options = {"min_samples_leaf": 5, "n_jobs": self.n_jobs, "random_state": seed}
        return RandomForestRegressor(**options), RandomForestClassifier(**options)

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        seed = seed_of(streams)
        forest = self._forest(seed)
        self.scaler_ = StandardScaler().fit(x)
        with _global_generator(seed):
            self.model_ = forest.fit(y, treated.astype(int), X=self.scaler_.transform(x))
        outcome, propensity = self._nuisances(seed)
        self.outcome_model_, self.propensity_model_ = outcome.fit(x, y), propensity.fit(x, treated)

    def _effect(self, x: NDArray) -> NDArray[np.float64]:
        return np.ravel(self.model_.effect(self.scaler_.transform(x)))

    def _outcomes(self, x: NDArray) -> NDArray[np.float64]:
        effect = self._effect(x)
        without = self.outcome_model_.predict(x) - self.propensity_model_.predict_proba(x)[:, 1] * effect
        return np.column_stack([without, without + effect])

    def _own_interval(self, x: NDArray, level: float) -> tuple[NDArray, NDArray]:
        lower, upper = self.model_.effect_interval(self.scaler_.transform(x), alpha=1 - level)
        return np.ravel(lower), np.ravel(upper)

    def _own_average_interval(self, x: NDArray, level: float) -> tuple[float, float]:
        lower, upper = self.model_.ate_interval(self.scaler_.transform(x), alpha=1 - level)
        return float(np.ravel(lower)[0]), float(np.ravel(upper)[0])


@dataclass(kw_only=True, eq=False, repr=False)
class CausalForest(_Forest):
    """EconML's ``CausalForestDML`` (Wager and Athey 2018), with random forests for outcome and propensity.

    Intervals are EconML's.

    Parameters
    ----------
    n_estimators : int
        Trees, a multiple of 4.
    min_samples_leaf : int
        Of the causal forest.

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.

    Raises
    ------
    MissingExtraError
        On ``fit``, without EconML.
    """

    name: ClassVar[str] = "causal-forest"

    def _fit(self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> None:
        super()._fit(x, y, treated, streams)
        self.averages_ = {
            fingerprint(x): (_first(self.model_.ate_), _first(self.model_.ate_stderr_)),
            fingerprint(x[treated]): (_first(self.model_.att_(T=1)), _first(self.model_.att_stderr_(T=1))),
        }

    def _average(self, x: NDArray[np.float64], level: float) -> AverageEffect:
        """Return EconML's doubly robust average over the units of the fit, or over the treated, where ``x`` is these.

        Of other units the mean of the effects is returned, whose interval adds up standard errors as if all
        effects erred together, and is very wide.
        """
        if self.n_bootstrap or fingerprint(x) not in self.averages_:
            return super()._average(x, level)
        value, error = self.averages_[fingerprint(x)]
        reach = float(norm.ppf((1 + level) / 2)) * error
        return AverageEffect(value, value - reach, value + reach, level, "doubly robust", error)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_estimators % 4:
            raise ValueError(f"n_estimators must be a multiple of 4; got {self.n_estimators}")

    def _forest(self, seed: int) -> Any:
        outcome, propensity = self._nuisances(seed)
        return require_extra("econml.dml", _EXTRA, self.name).CausalForestDML(
            model_y=outcome,
            model_t=propensity,
            discrete_treatment=True,
            n_estimators=self.n_estimators,
            min_samples_leaf=self.min_samples_leaf,
            n_jobs=self.n_jobs or 1,
            random_state=seed,
        )


def _first(values: NDArray) -> float:
    return float(np.ravel(values)[0])


@dataclass(kw_only=True, eq=False, repr=False)
class OrthogonalForest(_Forest):
    """EconML's ``DROrthoForest`` (Oprescu et al. 2019): at each point asked for, weighted nuisance models are refitted.

    The nuisances are a logistic regression and a lasso, on scaled covariates. An effect costs some hundredths of a
    second a unit. Intervals are EconML's (bootstrap of little bags).

    Parameters
    ----------
    n_estimators, min_samples_leaf : int
        Of the forest.
    alpha : float
        Penalty of the lasso, on the scale of the outcome.

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.

    Raises
    ------
    MissingExtraError
        On ``fit``, without EconML.
    """

    min_samples_leaf: int = 10
    alpha: float = 0.01

    name: ClassVar[str] = "orthogonal-forest"
    _least_in_group: ClassVar[int] = 4  # with fewer a tree's halves of a subsample are empty

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("alpha", self.alpha, above=0)

    def _forest(self, seed: int) -> Any:
        linear = require_extra("econml.sklearn_extensions.linear_model", _EXTRA, self.name)
        return require_extra("econml.orf", _EXTRA, self.name).DROrthoForest(
            n_trees=self.n_estimators,
            min_leaf_size=self.min_samples_leaf,
            propensity_model=LogisticRegression(random_state=seed),
            model_Y=linear.WeightedLasso(alpha=self.alpha, random_state=seed),
            n_jobs=self.n_jobs or 1,
            backend="threading",
            verbose=0,
            random_state=seed,
        )
