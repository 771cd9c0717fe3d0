"""Refutations: an estimate that does not vanish, or does not stay, where it should is none to believe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from wbm_ext.ite.arguments import check_training
from wbm_ext.parameters import check_integer, check_number


class Refutation(NamedTuple):
    """One refutation: what was changed, the average effects found, and whether that speaks against the estimate.

    ``name`` is "placebo treatment", "random common cause" or "subset"; ``estimate`` the original average effect,
    ``found`` (r,) those of the refits, ``passed`` whether they are what they should be.
    """

    name: str
    estimate: float
    found: NDArray[np.float64]
    passed: bool

    def __str__(self) -> str:
        spread = float(self.found.std(ddof=1)) if len(self.found) > 1 else math.nan
        expected = "0" if self.name == "placebo treatment" else f"{self.estimate:.4g}"
        word = "as it should be" if self.passed else "SHOULD NOT BE"
        refits = f"{self.found.mean():.4g} ± {spread:.2g} over {len(self.found)} refits"
        return f"{self.name}: {refits}, expected {expected}: {word}"


class Sensitivity(NamedTuple):
    """How strong an unobserved confounder would have to be to explain the effect away, in a linear model.

    A confounder that explains at least ``robustness_value`` of the variance that is left both of the treatment and of
    the outcome could bring the estimate of a linear regression to 0 (Cinelli and Hazlett, "Making sense of
    sensitivity", JRSS B 2020): with f = |t| / sqrt(degrees of freedom), RV = (sqrt(f^4 + 4 f^2) - f^2) / 2.
    ``strongest`` is the covariate that explains most of the treatment beside the others, ``strongest_share`` how much:
    a scale.
    """

    robustness_value: float
    strongest: str
    strongest_share: float

    def __str__(self) -> str:
        return (
            f"unobserved confounder: one that explains {self.robustness_value:.1%} of what is left of treatment and "
            f"outcome could explain the effect away; the strongest covariate, {self.strongest}, explains "
            f"{self.strongest_share:.1%} of the treatment"
        )


def refute(
    model: Any,
    X: Any,
    y: Any,
    *,
    treatment: Any,
    repeats: int = 10,
    share: float = 0.8,
    random_state: int = 0,
    between: Callable[[str], object] | None = None,
) -> list[Refutation]:
    """Refit a system where the answer is known, and compare.

    Placebo treatment: the treatments are shuffled, and the average effect should be 0, within what the placebos
    themselves spread. Random common cause: a column of normal noise is added; subset: a random ``share`` of the units
    is kept. Both should leave the estimate where it is: within a tenth of it or twice the spread of the refits.

    Parameters
    ----------
    model : EffectEstimator
        Fitted to these units; it is left as it is.
    X, y, treatment
        As for ``fit``.
    repeats : int
        Refits of each kind, at least 2.
    share : float
        In (0, 1).
    random_state : int
    between : callable, optional
        Is told, before each refit, which one it is.

    Examples
    --------
    >>> from wbm_ext import datasets, ite
    >>> units = datasets.make_treatments(400, random_state=0)
    >>> model = ite.create("ols").fit(units.X, units.y, treatment=units.treatment)
    >>> [found.name for found in ite.refute(model, units.X, units.y, treatment=units.treatment, repeats=3)]
    ['placebo treatment', 'random common cause', 'subset']
    """
    check_integer("repeats", repeats, least=2)
    check_number("share", share, above=0, below=1)
    x = model._encode(X)
    outcomes, treated = check_training(x, y, treatment)
    plain = model._replicate_parameters()
    rng = np.random.default_rng(random_state)

    def average(name: str, number: int, covariates: NDArray, arms: NDArray[np.bool_], rows: NDArray) -> float:
        if between is not None:
            between(f"{name} {number + 1} of {repeats}")
        refit = clone(model).set_params(**plain, random_state=int(rng.integers(2**31)))
        refit.fit(covariates[rows], outcomes[rows], treatment=arms[rows].astype(int))
        return float(refit._effect(refit._encode(covariates)).mean())

    everyone = np.arange(len(x))
    estimate = float(model._effect(x).mean())
    placebo = [average("placebo treatment", k, x, rng.permutation(treated), everyone) for k in range(repeats)]
    noise = [
        average("random common cause", k, np.column_stack([x, rng.normal(size=len(x))]), treated, everyone)
        for k in range(repeats)
    ]
    subset = [average("subset", k, x, treated, _part(treated, share, rng)) for k in range(repeats)]
    return [
        _placebo(estimate, np.array(placebo)),
        _unchanged("random common cause", estimate, np.array(noise)),
        _unchanged("subset", estimate, np.array(subset)),
    ]


def sensitivity(model: Any, X: Any, y: Any, *, treatment: Any) -> Sensitivity:
    """Return how strong an unobserved confounder would have to be; by linear regression on the model's covariates."""
    x = model._encode(X)
    outcomes, treated = check_training(x, y, treatment)
    ones = np.ones(len(x))
    rest = _residual(np.column_stack([ones, x]), treated.astype(float))
    of_outcome = _residual(np.column_stack([ones, x]), outcomes)
    scale = float(rest @ rest)
    if scale <= 1e-12 * len(x):
        return Sensitivity(0.0, "all of them together", 1.0)
    slope = float(rest @ of_outcome) / scale
    freedom = max(len(x) - np.linalg.matrix_rank(np.column_stack([ones, x])) - 1, 1)
    error = of_outcome - slope * rest
    # f² = t² / df = slope² Σ rest² / Σ error²
    f2 = slope**2 * scale / max(float(error @ error), 1e-300)
    shares = [_gain(x, place, treated.astype(float), scale) for place in range(x.shape[1])]
    strongest = int(np.argmax(shares))
    value = (math.sqrt(f2**2 + 4 * f2) - f2) / 2 if freedom and f2 < 1e8 else 1.0
    return Sensitivity(value, model.covariates_.names[strongest], shares[strongest])


def _gain(x: NDArray, place: int, treated: NDArray, scale: float) -> float:
    """Return the share of the treatment's variance, as the other columns leave it, that one column explains."""
    others = _residual(np.column_stack([np.ones(len(x)), np.delete(x, place, axis=1)]), treated)
    without = float(others @ others)
    return 1 - scale / without if without else 0.0


def _residual(design: NDArray, target: NDArray) -> NDArray[np.float64]:
    return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]


def _part(treated: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the sorted positions of a random share of each arm, at least one unit of it."""
    arms = [np.flatnonzero(treated), np.flatnonzero(~treated)]
    return np.sort(np.concatenate([rng.choice(arm, max(1, round(share * len(arm))), replace=False) for arm in arms]))


def _placebo(estimate: float, found: NDArray[np.float64]) -> Refutation:
    return Refutation("placebo treatment", estimate, found, bool(abs(found.mean()) <= 2 * found.std(ddof=1)))


def _unchanged(name: str, estimate: float, found: NDArray[np.float64]) -> Refutation:
    apart = abs(float(found.mean()) - estimate)
    return Refutation(name, estimate, found, apart <= max(0.1 * abs(estimate), 2 * float(found.std(ddof=1))))
