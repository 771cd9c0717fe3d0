r"""The ideal loss of a recommender and its estimates from observed pairs, over full matrices.

D is the set of all pairs, o the observation indicator, q = P(o = 1), e the prediction error. Meant for data
with known q, where bias can be measured. Every estimate takes ``errors`` of shape S (usually
(n_users, n_items)) and ``observed`` of shape S, or (..., \*S) with one draw of o an entry of the leading
axes. The result is a float, or an array of shape (...) with one estimate a draw. Errors of unobserved pairs
are never read and may be NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_array, as_binary, as_propensity, reject


def ideal_loss(errors: Any) -> float:
    """Return the mean error over all pairs, (1 / |D|) sum e, which the other functions estimate.

    Parameters
    ----------
    errors : array of any shape
        Error of every pair; finite.
    """
    return float(_finite("errors", errors).mean())


def naive_estimate(errors: Any, observed: Any) -> float | NDArray[np.float64]:
    """Return the mean error over the observed pairs, sum(o e) / sum(o); biased unless q is constant.

    Raises
    ------
    ValueError
        Shapes that do not fit, an observed error that is not finite, a draw that observes nothing.
    """
    error, seen = _errors_and_draws(errors, observed)
    weight = seen.astype(np.float64)
    return _ratio(_total(weight, error), _total(weight, np.ones_like(error)))


def ips_estimate(errors: Any, observed: Any, propensity: Any) -> float | NDArray[np.float64]:
    """Return the inverse propensity score estimate (1 / |D|) sum(o e / q); unbiased for the true q.

    Parameters
    ----------
    errors, observed
        See the module.
    propensity : array of the shape of ``errors``, values in (0, 1]

    References
    ----------
    Schnabel et al., "Recommendations as Treatments", ICML 2016.
    """
    error, seen = _errors_and_draws(errors, observed)
    return _value(_total(seen, error / _propensity(propensity, error)) / error.size)


def snips_estimate(errors: Any, observed: Any, propensity: Any) -> float | NDArray[np.float64]:
    """Return the self-normalised estimate sum(o e / q) / sum(o / q); consistent for the true q.

    Arguments are those of :func:`ips_estimate`; a draw that observes nothing is a ValueError.

    References
    ----------
    Swaminathan, Joachims, "The Self-Normalized Estimator for Counterfactual Learning", NeurIPS 2015.
    """
    error, seen = _errors_and_draws(errors, observed)
    weight = 1.0 / _propensity(propensity, error)
    return _ratio(_total(seen, weight * error), _total(seen, weight))


def dr_estimate(errors: Any, imputed: Any, observed: Any, propensity: Any) -> float | NDArray[np.float64]:
    """Return the doubly robust estimate (1 / |D|) sum(e^ + o (e - e^) / q).

    Unbiased if q is the true one, for any imputed errors e^; exact if e^ is e on the observed pairs and has
    the true mean over the others, for any q.

    Parameters
    ----------
    errors, observed, propensity
        As for :func:`ips_estimate`.
    imputed : array of the shape of ``errors``
        Imputed error of every pair; finite.

    References
    ----------
    Wang et al., "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", ICML 2019.
    """
    error, seen = _errors_and_draws(errors, observed)
    guess = _finite("imputed", imputed)
    if guess.shape != error.shape:
        raise ValueError(f"imputed must have the shape of errors, {error.shape}; got {guess.shape}")
    correction = _total(seen, (error - guess) / _propensity(propensity, error))
    return _value((guess.sum() + correction) / error.size)


def _errors_and_draws(errors: Any, observed: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    error, seen = as_array("errors", errors).astype(np.float64), as_binary("observed", observed)
    if error.size == 0:
        raise ValueError("errors must hold at least one value; got an empty array")
    if seen.ndim < error.ndim or seen.shape[seen.ndim - error.ndim :] != error.shape:
        raise ValueError(f"observed must have shape (..., *{error.shape}); got {seen.shape}")
    ever = seen.reshape(-1, *error.shape).any(axis=0)
    reject("errors", ever & ~np.isfinite(error), error, "errors of observed pairs must be finite")
    return np.where(ever, error, 0.0), seen


def _finite(argument: str, value: Any) -> NDArray[np.float64]:
    array = as_array(argument, value).astype(np.float64)
    if array.size == 0:
        raise ValueError(f"{argument} must hold at least one value; got an empty array")
    reject(argument, ~np.isfinite(array), array, "values must be finite")
    return array


def _propensity(propensity: Any, error: NDArray[np.float64]) -> NDArray[np.float64]:
    array = as_propensity("propensity", propensity)
    if array.shape != error.shape:
        raise ValueError(f"propensity must have the shape of errors, {error.shape}; got {array.shape}")
    return array


def _total(seen: NDArray, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum ``values`` over the observed pairs of each draw, as one matrix-vector product."""
    draws = seen.shape[: seen.ndim - values.ndim]
    return seen.reshape(*draws, values.size) @ values.ravel()


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> float | NDArray[np.float64]:
    reject(
        "observed",
        np.atleast_1d(denominator) == 0,
        np.atleast_1d(denominator),
        "each draw must observe a pair",
    )
    return _value(numerator / denominator)


def _value(result: Any) -> float | NDArray[np.float64]:
    return float(result) if np.ndim(result) == 0 else result
