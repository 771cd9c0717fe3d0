"""Diagnostics of weights: how much of the sample a reweighting leaves in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_vector, check_real, reject
from wbm_ext.metrics.calibration import as_probabilities


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
    return float((as_probabilities(propensity) < check_real("clip", clip, 0, 1)).mean())


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
