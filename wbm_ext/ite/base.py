"""The estimator all systems share: parameters, intake of a user's table, ``fit``, and what can be asked afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from wbm_ext.datasets._arrays import check_same_length, reject
from wbm_ext.errors import check_name
from wbm_ext.ite.arguments import as_outcome, as_treatment, check_training
from wbm_ext.ite.average import AverageEffect
from wbm_ext.ite.bootstrap import fit_replicates, percentiles
from wbm_ext.ite.covariates import MISSING, SCALES, Covariates, check_table
from wbm_ext.parameters import check_integer, check_number
from wbm_ext.training import Streams
from wbm_ext.training.seeding import Seed


class _NoFile:
    """In the place of ``save`` where there is none: ``hasattr`` says so, and whoever asks learns what to do instead."""

    def __get__(self, estimator: Any, owner: type) -> Any:
        name = getattr(owner, "name", "") or owner.__name__
        raise AttributeError(
            f"{name} has no save: a model file holds tensors and plain values, and this system is made of scikit-learn "
            "or EconML objects; fit it again, with the same random_state, or keep what it says, e.g. effect(X)"
        )


@dataclass(kw_only=True, eq=False, repr=False)
class EffectEstimator(BaseEstimator):
    """Base of all systems: estimates of E[Y1 - Y0 | x] for a binary treatment.

    A system gives ``_fit`` and ``_outcomes`` (or ``_effect``), both on encoded covariates.

    Parameters
    ----------
    categorical : "auto" or sequence
        Columns that hold labels; see :class:`~wbm_ext.ite.covariates.Covariates`, also for the next two.
    missing : {"error", "impute", "indicator"}
        What to do with missing covariates.
    scale : {"standard", "minmax", None}
        Scaling of the encoded covariates. None is what the papers' tables rest on.
    n_bootstrap : int
        Refits on resampled units, for intervals; 0: none, and intervals only where the system has its own.
    n_jobs : int or None
        Refits side by side, as joblib understands it.
    random_state : int, None or a generator of torch or numpy
        Of everything random; the global generators are neither used nor changed.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : array of str
        Only after a fit to a DataFrame.
    covariates_ : Covariates
    """

    categorical: Any = "auto"
    missing: str = "error"
    scale: str | None = "standard"
    n_bootstrap: int = 0
    n_jobs: int | None = None
    random_state: Seed = None

    name: ClassVar[str] = ""
    save = _NoFile()
    # scikit-learn's metadata routing takes the treatment to both
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"treatment": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"treatment": True}
    _least_in_group: ClassVar[int] = 1

    # ------------------------------------------------------------------ what a system may change

    def _check_parameters(self) -> None:
        check_name("missing", self.missing, MISSING)
        if self.scale is not None:
            check_name("scale", self.scale, SCALES)
        check_integer("n_bootstrap", self.n_bootstrap, least=0)

    def _fit(
        self, x: NDArray[np.float64], y: NDArray[np.float64], treated: NDArray[np.bool_], streams: Streams
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} cannot be fitted")

    def _outcomes(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected outcomes (n, 2), untreated and treated."""
        raise NotImplementedError(f"{type(self).__name__} gives no outcomes")

    def _effect(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        outcomes = self._outcomes(x)
        return outcomes[:, 1] - outcomes[:, 0]

    def _own_interval(self, x: NDArray[np.float64], level: float) -> tuple[NDArray, NDArray] | None:
        """Return the system's own pointwise interval, if it has one."""
        return None

    def _own_average_interval(self, x: NDArray[np.float64], level: float) -> tuple[float, float] | None:
        """Return the system's own interval of the mean effect over ``x``, if it has one."""
        return None

    def _own_average_error(self, x: NDArray[np.float64]) -> float | None:
        """Return the standard error that belongs to the system's own interval of the mean effect, if it has one."""
        return None

    def _replicate_parameters(self) -> dict[str, Any]:
        """Return what a refit on encoded covariates needs to have set differently."""
        return {"categorical": (), "missing": "error", "scale": None, "n_bootstrap": 0}

    # ------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any, *, treatment: Any) -> Self:
        """Fit to covariates (n, p), outcomes (n,) and treatment (n,) of 0 and 1.

        ``X`` is a DataFrame or an array. Raises TypeError or ValueError, naming argument, column and row, before
        any work.
        """
        x, outcomes, treated = self._intake(X, y, treatment)
        streams = Streams(self.random_state)
        self._fit(x, outcomes, treated, streams)
        return self._bootstrap(x, outcomes, treated, streams)

    def _intake(self, X: Any, y: Any, treatment: Any) -> tuple[NDArray, NDArray, NDArray]:
        self._check_parameters()
        covariates = Covariates(categorical=self.categorical, missing=self.missing, scale=self.scale)
        x = covariates.fit_transform(X)
        outcomes, treated = check_training(x, y, treatment, least=self._least_in_group)
        validate_data(self, X, skip_check_array=True)
        self.covariates_ = covariates
        self.replicates_: list[Any] = []
        return x, outcomes, treated

    def _bootstrap(self, x: NDArray, y: NDArray, treated: NDArray, streams: Streams) -> Self:
        if self.n_bootstrap:
            self.replicates_ = fit_replicates(self, x, y, treated, streams)
        return self

    def _encode(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self, "covariates_")
        check_table(X)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.covariates_.transform(X)

    # ------------------------------------------------------------------ after fit

    def effect(self, X: Any) -> NDArray[np.float64]:
        """Return the estimated effect of treatment on each unit, (n,), in units of the outcome."""
        return self._effect(self._encode(X))

    def predict_outcomes(self, X: Any) -> NDArray[np.float64]:
        """Return the estimated outcomes of each unit, (n, 2): without treatment, with treatment."""
        return self._outcomes(self._encode(X))

    def effect_interval(self, X: Any, *, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (lower, upper), each (n,): the system's own interval if it has one, else bootstrap percentiles.

        Raises
        ------
        ValueError
            If there is neither: fit with ``n_bootstrap``.
        """
        check_number("level", level, above=0, below=1)
        x = self._encode(X)
        own = self._own_interval(x, level)
        if own is not None:
            return own
        if not self.replicates_:
            raise ValueError(f"{self.name} has no interval of its own; fit it with n_bootstrap=200, say")
        return percentiles(np.stack([replicate._effect(x) for replicate in self.replicates_]), level)

    def ate(self, X: Any, *, level: float = 0.95) -> AverageEffect:
        """Return the mean effect over the units ``X`` with an interval (see :class:`AverageEffect`).

        The interval tells how the estimate would vary with the training units; ``X`` is held fixed.
        """
        check_number("level", level, above=0, below=1)
        return self._average(self._encode(X), level)

    def att(self, X: Any, treatment: Any, *, level: float = 0.95) -> AverageEffect:
        """Return the mean effect over the treated units of ``X``; ``treatment`` (n,) holds 0 and 1."""
        check_number("level", level, above=0, below=1)
        x, treated = self._encode(X), as_treatment("treatment", treatment)
        if len(treated) != len(x):
            raise ValueError(f"treatment must have the length of X, {len(x)}; got {len(treated)}")
        if not treated.any():
            raise ValueError("treatment must hold a treated unit, else there is no effect on the treated; got none")
        return self._average(x[treated], level)

    def score(self, X: Any, y: Any, *, treatment: Any = None, sample_weight: Any = None) -> float:
        """Return R² of the outcome predicted under the treatment received: 1 at best, 0 for the mean of ``y``.

            R² = 1 - Σ (y_i - y^_{t_i}(x_i))² / Σ (y_i - mean y)²

        It is what scikit-learn's model selection takes without ``scoring``. It judges outcomes, which are observed;
        effects are not. Pipelines, ``cross_val_score`` and ``GridSearchCV`` hand on the treatment with metadata
        routing. ``sample_weight`` (n,): non-negative, uniform where not given.

        Raises
        ------
        TypeError, ValueError
            As ``fit``, but that one group may be empty.

        Examples
        --------
        >>> import sklearn
        >>> from sklearn.model_selection import cross_val_score
        >>> from wbm_ext import datasets, ite
        >>> units = datasets.make_treatments(200, random_state=0)
        >>> with sklearn.config_context(enable_metadata_routing=True):
        ...     parts = cross_val_score(ite.create("ols"), units.X, units.y, params={"treatment": units.treatment})
        >>> len(parts)
        5
        """
        if treatment is None:
            raise TypeError(
                "score needs treatment, as fit does; within scikit-learn's model selection it arrives with "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        x, outcomes, treated = self._encode(X), as_outcome("y", y), as_treatment("treatment", treatment)
        check_same_length(X=x, y=outcomes, treatment=treated)
        weights = None if sample_weight is None else as_outcome("sample_weight", sample_weight)
        if weights is not None:
            check_same_length(X=x, sample_weight=weights)
            reject("sample_weight", weights < 0, weights, "weights must not be negative")
        predicted = self._outcomes(x)[np.arange(len(x)), treated.astype(int)]
        return float(r2_score(outcomes, predicted, sample_weight=weights))

    def _average(self, x: NDArray[np.float64], level: float) -> AverageEffect:
        value = float(self._effect(x).mean())
        own = self._own_average_interval(x, level)
        if self.n_bootstrap == 0 and own is not None:
            error = self._own_average_error(x)
            return AverageEffect(value, *own, level=level, method="model", standard_error=error)
        if not self.replicates_:
            return AverageEffect(value, level=level)
        means = np.array([replicate._effect(x).mean() for replicate in self.replicates_])
        lower, upper = percentiles(means, level)
        error = float(means.std(ddof=1)) if len(means) > 1 else None
        return AverageEffect(value, float(lower), float(upper), level=level, method="bootstrap", standard_error=error)
