"""Diagnostics of weights and propensities: how much of the sample a reweighting leaves in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_array, as_binary, as_vector, check_count, check_real, reject
from wbm_ext.errors import check_name


def effective_sample_size(weights: Any) -> float:
    """Return (sum w)^2 / sum w^2: the size of an evenly weighted sample of the same variance.

    Parameters
    ----------
    weights : array, shape (n,)
        Non-negative; their scale does not matter.

    Returns
    -------
    float
        In [1, n]; 0 if all weights are 0.

    Raises
    ------
    TypeError, ValueError
        Not 1-d, empty, negative or not finite.

    References
    ----------
    Kish, "Survey Sampling", 1965.
    """
    share = _shares(weights)
    return float(share.sum() ** 2 / np.square(share).sum()) if share.any() else 0.0


def largest_share(weights: Any) -> float:
    """Return max w / sum w, in [1/n, 1]; 0 if all weights are 0. Input as for the effective sample size."""
    return float(_shares(weights).max())


def clipped_share(propensity: Any, clip: float) -> float:
    """Return the share of propensities below ``clip``, i.e. of those that max(q, clip) changes.

    Parameters
    ----------
    propensity : array of any shape, values in [0, 1]
    clip : float
        In [0, 1].

    Raises
    ------
    TypeError, ValueError
        Values outside [0, 1], or an empty array.
    """
    return float((_probabilities(propensity) < check_real("clip", clip, 0, 1)).mean())


def propensity_calibration(propensity: Any, observed: Any, bins: int = 10, *, strategy: str = "uniform") -> float:
    r"""Expected calibration error of propensities.

    With n_b pairs in bin b::

        ECE = sum_b n_b / n  | mean_b(observed) - mean_b(propensity) |

    Parameters
    ----------
    propensity : array of any shape, values in [0, 1]
    observed : array of 0/1, same shape
        Over all pairs, not only the observed ones.
    bins : int
        At least 1.
    strategy : {"uniform", "quantile"}
        Bins of equal width on [0, 1] (the usual definition), or of about equally many pairs. Propensities
        of sparse ratings crowd near 0 and share one bin of equal width; ``"quantile"`` tells them apart.

    Returns
    -------
    float
        In [0, 1]; 0 for perfect calibration.

    Raises
    ------
    UnknownNameError
        ``strategy`` does not exist.
    TypeError, ValueError
        Shapes that differ, values outside their range, an empty array.

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    probability = _probabilities(propensity)
    seen = as_binary("observed", observed)
    if seen.shape != probability.shape:
        raise ValueError(f"observed must have the shape of propensity, {probability.shape}; got {seen.shape}")
    bins = check_count("bins", bins)
    check_name("strategy", strategy, ("uniform", "quantile"))
    probability, seen = probability.ravel(), seen.ravel()
    levels = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    edges = levels if strategy == "uniform" else np.quantile(probability, levels)
    place = np.searchsorted(edges, probability, side="right")
    return float(np.abs(np.bincount(place, seen - probability)).sum() / len(probability))


def _shares(weights: Any) -> NDArray[np.float64]:
    """Return the weights divided by their sum; the maximum goes out first, so large ones do not overflow."""
    array = as_vector("weights", weights).astype(np.float64)
    if array.size == 0:
        raise ValueError("weights must hold at least one value; got length 0")
    reject("weights", ~np.isfinite(array) | (array < 0), array, "weights must be finite and non-negative")
    if not array.any():
        return array
    array = array / array.max()
    return array / array.sum()


def _probabilities(propensity: Any) -> NDArray[np.float64]:
    array = as_array("propensity", propensity).astype(np.float64)
    if array.size == 0:
        raise ValueError("propensity must hold at least one value; got an empty array")
    reject("propensity", ~((array >= 0) & (array <= 1)), array, "propensities must be in [0, 1]")
    return array
