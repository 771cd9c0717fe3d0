"""Are propensities probabilities? Calibration curve, calibration error, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_array, as_binary, check_count, reject
from wbm_ext.errors import check_name

STRATEGIES = ("uniform", "quantile")


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """What was predicted and what was observed, a bin an entry; empty bins are left out.

    Attributes
    ----------
    predicted : array, shape (b,)
        Mean propensity of the pairs of each bin, ascending.
    observed : array, shape (b,)
        Share of them that was observed.
    counts : array of int, shape (b,)
        Number of pairs.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error, the mean of |observed - predicted| weighted by the counts."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.counts))


def calibration_curve(propensity: Any, observed: Any, bins: int = 10, *, strategy: str = "uniform") -> CalibrationCurve:
    """Return mean propensity and share observed by bin of the propensity.

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

    Raises
    ------
    UnknownNameError
        ``strategy`` does not exist.
    TypeError, ValueError
        Shapes that differ, values outside their range, an empty array.
    """
    probability, seen = _flat_pair(propensity, observed)
    bins = check_count("bins", bins)
    check_name("strategy", strategy, STRATEGIES)
    levels = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    edges = levels if strategy == "uniform" else np.quantile(probability, levels)
    place = np.searchsorted(edges, probability, side="right")
    counts = np.bincount(place, minlength=bins)
    full = counts > 0
    return CalibrationCurve(
        predicted=np.bincount(place, probability, bins)[full] / counts[full],
        observed=np.bincount(place, seen, bins)[full] / counts[full],
        counts=counts[full],
    )


def propensity_calibration(propensity: Any, observed: Any, bins: int = 10, *, strategy: str = "uniform") -> float:
    r"""Expected calibration error of propensities.

    With n_b pairs in bin b::

        ECE = sum_b n_b / n  | mean_b(observed) - mean_b(propensity) |

    Parameters and errors are those of :func:`calibration_curve`.

    Returns
    -------
    float
        In [0, 1]; 0 for perfect calibration.

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    return calibration_curve(propensity, observed, bins, strategy=strategy).error


def brier_score(propensity: Any, observed: Any) -> float:
    """Return the mean of (propensity - observed)^2, in [0, 1]; lowest in expectation for the true propensities.

    Parameters
    ----------
    propensity : array of any shape, values in [0, 1]
    observed : array of 0/1, same shape

    Raises
    ------
    TypeError, ValueError
        Shapes that differ, values outside their range, an empty array.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.
    """
    probability, seen = _flat_pair(propensity, observed)
    return float(np.square(probability - seen).mean())


def as_probabilities(propensity: Any) -> NDArray[np.float64]:
    """Return ``propensity`` as float64 of any shape, each entry in [0, 1], else raise TypeError or ValueError."""
    array = as_array("propensity", propensity).astype(np.float64)
    if array.size == 0:
        raise ValueError("propensity must hold at least one value; got an empty array")
    reject("propensity", ~((array >= 0) & (array <= 1)), array, "propensities must be in [0, 1]")
    return array


def _flat_pair(propensity: Any, observed: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    probability, seen = as_probabilities(propensity), as_binary("observed", observed)
    if seen.shape != probability.shape:
        raise ValueError(f"observed must have the shape of propensity, {probability.shape}; got {seen.shape}")
    return probability.ravel(), seen.ravel().astype(np.float64)
