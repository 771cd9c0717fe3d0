"""Errors of estimated treatment effects and outcomes, for data whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_binary, as_vector, check_same_length, reject
from wbm_ext.errors import check_name

WITHIN_SAMPLE = ("model", "replace")


def pehe(effect: Any, predicted: Any) -> float:
    r"""Return the precision in estimating heterogeneous effects, as a root::

        PEHE = sqrt( mean_i (tau_i - tau^_i)^2 )

    The form in which values are published; ESCFR's Eq. 3 prints it without the root, :func:`pehe_squared`.

    Parameters
    ----------
    effect : array, shape (n,)
        True effects tau, unit of the outcome; ``mu1 - mu0`` where there are noiseless outcomes.
    predicted : array, shape (n,)
        Estimated effects tau^.

    Raises
    ------
    TypeError, ValueError
        Not 1-d, empty, not finite, lengths that differ.

    References
    ----------
    Hill, "Bayesian Nonparametric Modeling for Causal Inference", JCGS 2011.
    """
    return float(np.sqrt(pehe_squared(effect, predicted)))


def pehe_squared(effect: Any, predicted: Any) -> float:
    """Return mean (tau - tau^)^2, the square of :func:`pehe`; unit of the outcome squared."""
    truth, guess = _pair("effect", effect, "predicted", predicted)
    return float(np.square(truth - guess).mean())


def ate_error(effect: Any, predicted: Any) -> float:
    """Return the error of the average effect, |mean tau^ - mean tau|; arguments and errors as for :func:`pehe`."""
    truth, guess = _pair("effect", effect, "predicted", predicted)
    return float(abs(guess.mean() - truth.mean()))


def att_error(effect: Any, predicted: Any, treatment: Any) -> float:
    """Return the error of the average effect on the treated, |mean tau^ - mean tau| over t = 1.

    Parameters
    ----------
    effect, predicted
        As for :func:`pehe`.
    treatment : array of 0/1, shape (n,)

    Raises
    ------
    ValueError
        Bad input, or no treated unit.
    """
    truth, guess = _pair("effect", effect, "predicted", predicted)
    treated = _treatment(treatment, effect=truth)
    if not treated.any():
        raise ValueError("treatment must hold a treated unit for the effect on the treated; got none")
    return float(abs(guess[treated].mean() - truth[treated].mean()))


def rmse_factual(y: Any, treatment: Any, predicted0: Any, predicted1: Any) -> float:
    """Return the root mean squared error of the predicted outcome under the treatment received.

    Parameters
    ----------
    y : array, shape (n,)
        Factual outcome.
    treatment : array of 0/1, shape (n,)
    predicted0, predicted1 : array, shape (n,)
        Predicted outcome without and with treatment.
    """
    truth, treated, without, with_ = _outcomes("y", y, treatment, predicted0, predicted1)
    return float(np.sqrt(np.square(truth - np.where(treated, with_, without)).mean()))


def rmse_counterfactual(y_cf: Any, treatment: Any, predicted0: Any, predicted1: Any) -> float:
    """Return the root mean squared error of the predicted outcome under the treatment not received.

    ``y_cf`` is the counterfactual outcome; the other arguments are those of :func:`rmse_factual`.
    """
    truth, treated, without, with_ = _outcomes("y_cf", y_cf, treatment, predicted0, predicted1)
    return float(np.sqrt(np.square(truth - np.where(treated, without, with_)).mean()))


def predicted_effect(
    predicted0: Any, predicted1: Any, *, within_sample: str = "model", y: Any = None, treatment: Any = None
) -> NDArray[np.float64]:
    r"""Return the estimated effect of each unit from predicted outcomes, float64 (n,).

    ``"model"``: mu1^ - mu0^. ``"replace"``: the predicted factual outcome gives way to the observed one::

        tau^_i = y_i - mu0^_i  if t_i = 1,    mu1^_i - y_i  if t_i = 0

    which is what published in-sample columns hold. It puts the noise of y into tau^, and an AUUC of it
    is inflated, for y itself then ranks the units.

    Parameters
    ----------
    predicted0, predicted1 : array, shape (n,)
        Predicted outcome without and with treatment.
    within_sample : {"model", "replace"}
    y, treatment : array, shape (n,)
        Factual outcome and treatment; ``"replace"`` needs both.

    Raises
    ------
    UnknownNameError
        ``within_sample`` does not exist.
    TypeError, ValueError
        Bad arrays, or ``"replace"`` without ``y`` or ``treatment``.
    """
    check_name("within_sample", within_sample, WITHIN_SAMPLE)
    if within_sample == "model":
        without, with_ = _pair("predicted0", predicted0, "predicted1", predicted1)
        return with_ - without
    if y is None or treatment is None:
        raise ValueError("y and treatment must be given for within_sample='replace'; got None")
    truth, treated, without, with_ = _outcomes("y", y, treatment, predicted0, predicted1)
    return np.where(treated, truth - without, with_ - truth)


def finite_vector(argument: str, value: Any) -> NDArray[np.float64]:
    """Return ``value`` as float64 (n,), n at least 1 and every entry finite, else raise TypeError or ValueError."""
    array = as_vector(argument, value).astype(np.float64)
    if array.size == 0:
        raise ValueError(f"{argument} must hold at least one value; got length 0")
    reject(argument, ~np.isfinite(array), array, "values must be finite")
    return array


def _pair(first: str, one: Any, second: str, other: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = finite_vector(first, one), finite_vector(second, other)
    check_same_length(**{first: left, second: right})
    return left, right


def _treatment(treatment: Any, **reference: NDArray) -> NDArray[np.bool_]:
    treated = as_binary("treatment", as_vector("treatment", treatment))
    check_same_length(**reference, treatment=treated)
    return treated


def _outcomes(
    argument: str, y: Any, treatment: Any, predicted0: Any, predicted1: Any
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    truth = finite_vector(argument, y)
    treated = _treatment(treatment, **{argument: truth})
    without, with_ = finite_vector("predicted0", predicted0), finite_vector("predicted1", predicted1)
    check_same_length(**{argument: truth}, predicted0=without, predicted1=with_)
    return truth, treated, without, with_
