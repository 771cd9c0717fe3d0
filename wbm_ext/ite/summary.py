"""What to look at before an estimated effect is believed: arms, covariates, balance, overlap, fit, the estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wbm_ext.ite.arguments import check_training
from wbm_ext.ite.average import AverageEffect
from wbm_ext.metrics.balance import effective_sample_size
from wbm_ext.metrics.ranking import auc
from wbm_ext.parameters import check_number

FOLDS = 5
CLIP = 0.01  # no weight is built from a propensity nearer to 0 or 1 than this
BALANCED = 0.1  # standardised mean difference above which a covariate counts as not balanced
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class EffectSummary:
    """An estimate and what speaks for and against it; ``print`` shows it.

    Attributes
    ----------
    system : str
    n_treated, n_untreated : int
    mean_treated, mean_untreated : float
        Of the outcomes as they are.
    covariates : {name: str}
        How each column was read: "number", or "labels" with how many.
    average : AverageEffect
        Mean of the system's effects over the units, with the system's own or the bootstrap's interval, if it has one.
    doubly_robust : AverageEffect
        The system's outcomes corrected by weighted residuals (AIPW), with the standard error of its influence function:

            ψ_i = μ1 - μ0 + t (y - μ1) / e - (1 - t) (y - μ0) / (1 - e),   se = sd(ψ) / sqrt(n)

        A system without a training loop (regression, matching, forests) is refitted on folds, and
        each outcome predicted by the fit that has not seen the unit; of a network the outcomes are its own, and the
        interval is valid only as far as it does not follow the noise of its training units.
    treated : AverageEffect
        Mean over the treated units.
    r2, rmse_treated, rmse_untreated : float
        Of the outcomes predicted under the treatment received, on these units; of units not seen where ``held_out``.
    held_out : bool
        Whether the outcomes are predicted by fits that have not seen the unit.
    propensity : array (n,)
        P(treated | x) by a logistic regression, each unit by the folds that do not hold it.
    propensity_auc : float
        1/2: nobody can tell treated from untreated; near 1: they have little in common.
    outside : float
        Share of the units with a propensity below 0.05 or above 0.95.
    ess_treated, ess_untreated : float
        Effective sizes (sum w)^2 / sum w^2 of the two arms under inverse propensity weights.
    names : tuple of str
        Columns of the matrix, as are the entries of the next two.
    before, after : array (q,)
        Standardised mean differences, (mean of treated - mean of untreated) / sqrt((var + var) / 2), plain and weighted
        by inverse propensities.
    transported_mass : float or None
        Share of the mass that the system's transport moved in its last epoch, where it is one of transport.
    effects : array (n,)
    warnings : tuple of str
    """

    system: str
    n_treated: int
    n_untreated: int
    mean_treated: float
    mean_untreated: float
    covariates: Mapping[str, str]
    average: AverageEffect
    doubly_robust: AverageEffect
    treated: AverageEffect
    r2: float
    rmse_treated: float
    rmse_untreated: float
    held_out: bool
    propensity: NDArray[np.float64]
    treatment: NDArray[np.bool_]
    propensity_auc: float
    outside: float
    ess_treated: float
    ess_untreated: float
    names: tuple[str, ...]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    transported_mass: float | None
    effects: NDArray[np.float64]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        n = self.n_treated + self.n_untreated
        numbers = [name for name, kind in self.covariates.items() if kind == "number"]
        labels = [
            f"{name} ({kind.removeprefix('labels: ')})" for name, kind in self.covariates.items() if kind != "number"
        ]
        order = np.argsort(-np.abs(self.before), kind="stable")[:_SHOWN]
        width = max([len(self.names[place]) for place in order], default=0)
        lines = [
            f"units: {n}; treated {self.n_treated}, untreated {self.n_untreated}",
            f"mean outcome: treated {self.mean_treated:.4g}, untreated {self.mean_untreated:.4g}, difference "
            f"{self.mean_treated - self.mean_untreated:.4g} (not adjusted)",
            f"covariates: {len(numbers)} of numbers ({_listed(numbers)}); {len(labels)} of labels ({_listed(labels)})",
            "",
            f"average effect ({self.system}): {self.average}",
            f"average effect on the treated: {self.treated}",
            f"average effect, doubly robust: {self.doubly_robust}",
            "",
            f"outcome model: R² {self.r2:.3f}; RMSE {self.rmse_treated:.4g} treated, {self.rmse_untreated:.4g} "
            f"untreated, {'on units that the fit has not seen' if self.held_out else 'on these units'}",
            f"overlap: propensity {self.propensity.min():.3f} to {self.propensity.max():.3f}, {self.outside:.1%} of "
            f"the units outside .05 to .95; AUC {self.propensity_auc:.3f}",
            f"effective sample size under weighting: treated {self.ess_treated:.0f} of {self.n_treated}, untreated "
            f"{self.ess_untreated:.0f} of {self.n_untreated}",
            f"balance, standardised mean differences: largest {np.abs(self.before).max(initial=0):.3f} before, "
            f"{np.abs(self.after).max(initial=0):.3f} after weighting",
            *(f"  {self.names[p]:<{width}}  {self.before[p]:+.3f}  {self.after[p]:+.3f}" for p in order),
        ]
        if self.transported_mass is not None:
            lines.append(f"transported mass: {self.transported_mass:.1%} of each batch, in the last epoch")
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def summarise(
    model: Any, X: Any, y: Any, *, treatment: Any, level: float = 0.95, random_state: int = 0
) -> EffectSummary:
    """Return estimate, balance, overlap and fit of a fitted system on units with known outcomes.

    Parameters
    ----------
    model : EffectEstimator
        Fitted.
    X, y, treatment
        As for its ``fit``; usually the units it was fitted to.
    level : float
        Nominal coverage of the intervals.
    random_state : int
        Of the folds of the propensities.

    Raises
    ------
    TypeError, ValueError
        As ``fit`` and ``ate``.

    Examples
    --------
    >>> from wbm_ext import datasets, ite
    >>> units = datasets.make_treatments(400, random_state=0)
    >>> model = ite.create("ols").fit(units.X, units.y, treatment=units.treatment)
    >>> found = ite.summarise(model, units.X, units.y, treatment=units.treatment)
    >>> found.n_treated + found.n_untreated, found.doubly_robust.method
    (400, 'doubly robust')
    """
    check_number("level", level, above=0, below=1)
    x = model._encode(X)
    outcomes, treated = check_training(x, y, treatment)
    held_out = not hasattr(model, "history_")
    expected = _cross_fitted(model, x, outcomes, treated, random_state) if held_out else model._outcomes(x)
    e = propensities(x, treated, random_state)
    weights = np.where(treated, 1 / e, 1 / (1 - e))
    residual = outcomes - expected[np.arange(len(x)), treated.astype(int)]
    influence = expected[:, 1] - expected[:, 0] + np.where(treated, weights, -weights) * residual
    effects = model._effect(x)
    history = getattr(model, "history_", None)
    masses = [
        record["transported_mass"] for record in (history.records if history else ()) if "transported_mass" in record
    ]
    total = float(np.square(outcomes - outcomes.mean()).sum())
    fields: dict[str, Any] = {
        "system": model.name,
        "n_treated": int(treated.sum()),
        "n_untreated": int((~treated).sum()),
        "mean_treated": float(outcomes[treated].mean()),
        "mean_untreated": float(outcomes[~treated].mean()),
        "covariates": _kinds(model.covariates_),
        "average": model.ate(X, level=level),
        "treated": model.att(X, treated.astype(int), level=level),
        "doubly_robust": normal_interval(
            float(influence.mean()), float(influence.std(ddof=1)) / math.sqrt(len(x)), level, "doubly robust"
        ),
        "r2": 1 - float(np.square(residual).sum()) / total if total else math.nan,
        "rmse_treated": float(np.sqrt(np.square(residual[treated]).mean())),
        "rmse_untreated": float(np.sqrt(np.square(residual[~treated]).mean())),
        "held_out": held_out,
        "propensity": e,
        "treatment": treated,
        "propensity_auc": auc(treated, e),
        "outside": float(((e < 0.05) | (e > 0.95)).mean()),
        "ess_treated": effective_sample_size(weights[treated]),
        "ess_untreated": effective_sample_size(weights[~treated]),
        "names": tuple(model.covariates_.names),
        "before": standardised_differences(x, treated),
        "after": standardised_differences(x, treated, weights),
        "transported_mass": float(masses[-1]) if masses else None,
        "effects": effects,
    }
    return EffectSummary(**fields, warnings=tuple(_warnings(fields, x)))


def _cross_fitted(
    model: Any, x: NDArray, y: NDArray, treated: NDArray[np.bool_], random_state: int
) -> NDArray[np.float64]:
    """Return the outcomes (n, 2) of each unit, by a refit on the folds that do not hold it."""
    folds = min(FOLDS, int(treated.sum()), int((~treated).sum()))
    if folds < 2:
        return model._outcomes(x)
    expected = np.empty((len(x), 2))
    for rest, part in StratifiedKFold(folds, shuffle=True, random_state=random_state).split(x, treated):
        refit = clone(model).set_params(**model._replicate_parameters(), random_state=random_state)
        refit.fit(x[rest], y[rest], treatment=treated[rest].astype(int))
        expected[part] = refit._outcomes(refit._encode(x[part]))
    return expected


def propensities(x: NDArray, treated: NDArray[np.bool_], random_state: int) -> NDArray[np.float64]:
    """Return P(treated | x) (n,), each by a logistic regression on the other folds, in [0.01, 0.99]."""
    folds = min(FOLDS, int(treated.sum()), int((~treated).sum()))
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if folds < 2:
        found = regression.fit(x, treated).predict_proba(x)[:, 1]
    else:
        parts = StratifiedKFold(folds, shuffle=True, random_state=random_state)
        found = cross_val_predict(regression, x, treated, cv=parts, method="predict_proba")[:, 1]
    return np.clip(found, CLIP, 1 - CLIP)


def standardised_differences(
    x: NDArray[np.float64], treated: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return (weighted mean of treated - of untreated) / sqrt((var + var) / 2) of each column; 0 if constant."""
    weights = np.ones(len(x)) if weights is None else weights
    arms = [(x[arm], weights[arm] / weights[arm].sum()) for arm in (treated, ~treated)]
    one, zero = (w @ values for values, w in arms)
    spread = np.sqrt(sum(values.var(axis=0) for values, _ in arms) / 2)
    return np.divide(one - zero, spread, out=np.zeros(x.shape[1]), where=spread > 1e-12 * (1 + np.abs(one)))


def normal_interval(value: float, error: float, level: float, method: str) -> AverageEffect:
    """Return value ± z · standard error."""
    reach = float(norm.ppf((1 + level) / 2)) * error
    return AverageEffect(value, value - reach, value + reach, level=level, method=method, standard_error=error)


def _kinds(covariates: Any) -> dict[str, str]:
    kinds = {str(name): "number" for name in covariates.columns}
    for place, known in zip(covariates.label_columns, covariates.labels, strict=True):
        kinds[str(covariates.columns[place])] = f"labels: {len(known)}"
    return kinds


def _warnings(found: Mapping[str, Any], x: NDArray) -> list[str]:
    """Return what would make a reader doubt the estimate, one sentence each."""
    texts = []
    before, after = (float(np.abs(found[name]).max(initial=0)) for name in ("before", "after"))
    if found["outside"] > 0.1:
        texts.append(
            f"{found['outside']:.0%} of the units have a propensity outside .05 to .95: for them there is hardly "
            "anybody to compare with"
        )
    if after > BALANCED:
        worst = found["names"][int(np.argmax(np.abs(found["after"])))]
        texts.append(f"{worst} is not balanced after weighting (difference {after:.2f}; before {before:.2f})")
    for arm in ("treated", "untreated"):
        size, n = found[f"ess_{arm}"], found[f"n_{arm}"]
        if size < 0.2 * n or n < 20:
            texts.append(f"the {arm} units count as {size:.0f}: the estimate rests on few of them")
    constant = [name for name, column in zip(found["names"], x.T, strict=True) if np.ptp(column) == 0]
    if constant:
        texts.append(f"constant covariates: {_listed(constant)}")
    one, two = found["average"], found["doubly_robust"]
    if not two.lower <= one.value <= two.upper:
        texts.append(
            f"the system's average, {one.value:.4g}, lies outside the doubly robust interval: outcome model and "
            "propensities disagree"
        )
    return texts


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
