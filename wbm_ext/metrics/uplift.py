r"""Uplift curves and the areas under them: how well scores order units by what treatment does for them.

Only factual outcomes are used, so under selection bias these numbers rank by confounding as well.

With the units in order of descending score, N_t(k) and N_c(k) treated and control units among the first k,
Y_t(k) and Y_c(k) the sums of their outcomes::

    uplift (joint)   V(k) = k ( Y_t(k) / N_t(k) - Y_c(k) / N_c(k) )
    Qini             Q(k) = Y_t(k) - Y_c(k) N_t(k) / N_c(k)

and V(0) = Q(0) = 0. As long as one arm has no unit, a ratio is undefined. ``empty="interpolate"``: V / k and Q
run linearly to the first k where they are defined, as in causalml. ``empty="zero"``: the ratio counts 0, as in
scikit-uplift.

Equal scores say nothing about an order: ``ties="average"`` evaluates at the ends of such a block and joins
them by a straight line, so a constant score gives the line of a random order; ``ties="order"`` takes the units
as given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_binary, as_vector, check_same_length, reject
from wbm_ext.errors import check_name
from wbm_ext.metrics.effects import finite_vector
from wbm_ext.metrics.ranking import auc
from wbm_ext.parameters import check_flag

TIES = ("average", "order")


def uplift_curve(
    y: Any, treatment: Any, scores: Any, *, ties: str = "average", empty: str = "interpolate"
) -> NDArray[np.float64]:
    """Return the joint uplift curve V(0), ..., V(n), float64 (n + 1,); unit of the outcome times units.

    Parameters
    ----------
    y : array, shape (n,)
        Factual outcome; any finite numbers.
    treatment : array of 0/1, shape (n,)
    scores : array, shape (n,)
        Estimated effect; higher means treated first.
    ties : {"average", "order"}
        What equal scores mean; see the module.
    empty : {"interpolate", "zero"}
        What an arm without a unit means; see the module.

    Raises
    ------
    UnknownNameError
        ``ties`` or ``empty`` does not exist.
    TypeError, ValueError
        Arrays that are not 1-d, empty, not finite or of different lengths; a treatment other than 0 and 1, or
        without both arms.
    """
    outcome, treated, values = _checked(y, treatment, scores)
    ends, n_t, n_c, y_t, y_c = _sums(outcome, treated, values, ties)
    without = _hole(empty)
    lift = _ratio(y_t, n_t, without) - _ratio(y_c, n_c, without)
    return _join(ends, ends * _bridge(ends, lift))


def qini_curve(
    y: Any, treatment: Any, scores: Any, *, ties: str = "average", empty: str = "interpolate"
) -> NDArray[np.float64]:
    """Return the Qini curve Q(0), ..., Q(n), float64 (n + 1,); arguments and errors of :func:`uplift_curve`.

    References
    ----------
    Radcliffe, "Using Control Groups to Target on Predicted Lift", 2007.
    """
    outcome, treated, values = _checked(y, treatment, scores)
    ends, n_t, n_c, y_t, y_c = _sums(outcome, treated, values, ties)
    return _join(ends, _bridge(ends, y_t - y_c * _ratio(n_t, n_c, _hole(empty))))


def auuc(y: Any, treatment: Any, scores: Any, *, normalise: bool = True, ties: str = "average") -> float:
    r"""Area under the joint uplift curve, the mean of V(0), ..., V(n)::

        AUUC = 1 / (n + 1)  sum_{k=0..n} V(k) / |V(n)|

    causalml's number, by which ESCFR selects. A random order is about one half if treated units do better on
    the whole (V(n) > 0) and about minus one half if they do worse. It is not confined to [0, 1], and unstable
    where V(n), n times the naive difference of means, is near 0.

    Parameters
    ----------
    y, treatment, scores, ties
        As for :func:`uplift_curve`.
    normalise : bool
        Divide by |V(n)|.

    Raises
    ------
    TypeError, ValueError
        As for :func:`uplift_curve`; also V(n) = 0 with ``normalise=True``.
    """
    check_flag("normalise", normalise)
    curve = uplift_curve(y, treatment, scores, ties=ties)
    return _mean(curve, normalise)


def auuc_separate(y: Any, treatment: Any, scores: Any) -> float:
    r"""Area under the uplift curve with each arm ordered by itself, for a binary outcome.

    With H_a(p) = (sum of y among the first share p of arm a) / n_a and AUC_a the area under the ROC curve of
    the scores for y within arm a::

        AUUC = int_0^1 H_t(p) - H_c(p) dp
             = l_t AUC_t - l_c AUC_c + (ybar_t^2 - ybar_c^2) / 2,    l_a = ybar_a (1 - ybar_a)

    Equal scores count one half, as in the AUC. A random order gives (ybar_t - ybar_c) / 2.

    Parameters
    ----------
    y : array of 0/1, shape (n,)
    treatment, scores
        As for :func:`uplift_curve`.

    References
    ----------
    Betlei, Diemert, Amini, "Uplift Modeling with Generalization Guarantees", KDD 2021.
    """
    outcome, treated, values = _checked(y, treatment, scores)
    positive = as_binary("y", outcome)
    area = 0.0
    for sign, arm in ((1.0, treated), (-1.0, ~treated)):
        mean = float(positive[arm].mean())
        spread = mean * (1.0 - mean)
        # an arm with one class only has no AUC, and no weight for it either
        area += sign * (spread * auc(positive[arm], values[arm]) if spread > 0 else 0.0) + sign * mean**2 / 2
    return area


def qini(y: Any, treatment: Any, scores: Any, *, normalise: str = "total", ties: str = "average") -> float:
    r"""Qini coefficient: the area between the Qini curve and that of a random order, the line to Q(n).

    ``"none"``
        1 / (n + 1)  sum_{k=0..n} ( Q(k) - Q(n) k / n ).
    ``"total"``
        The same divided by |Q(n)|, causalml's number.
    ``"perfect"``
        The area over [0, n] by the trapezoidal rule, divided by the same area of the order that is best for the
        curve: treated responders, the indifferent, control responders; both with ``empty="zero"``. Binary
        outcome only; scikit-uplift's number. 1 is the best order.

    Parameters
    ----------
    y, treatment, scores, ties
        As for :func:`uplift_curve`.
    normalise : {"total", "none", "perfect"}

    Raises
    ------
    UnknownNameError
        ``normalise`` or ``ties`` does not exist.
    TypeError, ValueError
        As for :func:`uplift_curve`; a divisor of 0; an outcome other than 0 and 1 with ``"perfect"``.

    References
    ----------
    Radcliffe, "Using Control Groups to Target on Predicted Lift", 2007.
    """
    check_name("normalise", normalise, ("total", "none", "perfect"))
    if normalise != "perfect":
        curve = qini_curve(y, treatment, scores, ties=ties)
        random = np.linspace(0.0, curve[-1], len(curve))
        return _mean(curve, normalise == "total") - _mean(random, normalise == "total")
    outcome, treated = as_binary("y", finite_vector("y", y)).astype(np.float64), as_binary("treatment", treatment)
    curve = qini_curve(outcome, treated, scores, ties=ties, empty="zero")
    best = qini_curve(outcome, treated, np.where(treated, outcome, -outcome), empty="zero")
    baseline = np.linspace(0.0, curve[-1], len(curve))
    room = _trapezoid(best - baseline)
    if not room > 0:
        raise ValueError("y must let an order be better than a random one for normalise='perfect'; got none that is")
    return _trapezoid(curve - baseline) / room


def _checked(y: Any, treatment: Any, scores: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    outcome, values = finite_vector("y", y), finite_vector("scores", scores)
    treated = as_binary("treatment", as_vector("treatment", treatment))
    check_same_length(y=outcome, treatment=treated, scores=values)
    n_treated = int(treated.sum())
    if n_treated in (0, len(treated)):
        raise ValueError(
            f"treatment must hold both arms for an uplift curve; got {n_treated} treated of {len(treated)} units"
        )
    return outcome, treated, values


def _sums(
    outcome: NDArray[np.float64], treated: NDArray[np.bool_], values: NDArray[np.float64], ties: str
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Return the k at which the curve is evaluated, ascending to n, and N_t, N_c, Y_t and Y_c there."""
    check_name("ties", ties, TIES)
    order = np.argsort(-values, kind="stable")
    last = np.ones(len(order), dtype=bool)
    if ties == "average":
        last[:-1] = np.diff(values[order]) != 0
    arm, effect = treated[order], outcome[order]
    ends, n_t = np.flatnonzero(last) + 1, np.cumsum(arm)[last]
    y_t, y_c = np.cumsum(np.where(arm, effect, 0.0))[last], np.cumsum(np.where(arm, 0.0, effect))[last]
    return ends, n_t, ends - n_t, y_t, y_c


def _hole(empty: str) -> float:
    return 0.0 if check_name("empty", empty, ("interpolate", "zero")) == "zero" else np.nan


def _ratio(numerator: NDArray, denominator: NDArray, without: float) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full(len(numerator), without), where=denominator > 0)


def _bridge(ends: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill NaN linearly in k; the value at k = 0 is 0."""
    known = ~np.isnan(values)
    return np.interp(ends, np.concatenate([[0], ends[known]]), np.concatenate([[0.0], values[known]]))


def _join(ends: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve at 0 .. n, straight between its ends."""
    return np.interp(np.arange(ends[-1] + 1), np.concatenate([[0], ends]), np.concatenate([[0.0], values]))


def _trapezoid(curve: NDArray[np.float64]) -> float:
    return float((curve[1:] + curve[:-1]).sum() / 2)


def _mean(curve: NDArray[np.float64], normalise: bool) -> float:
    if not normalise:
        return float(curve.mean())
    total = abs(curve[-1:])
    reject("y", total == 0, total, "the difference of the arms' means, by which the area is divided, must not be 0")
    return float(curve.mean() / total[0])
