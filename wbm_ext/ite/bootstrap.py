"""Refits on resampled units, and percentiles over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone

from wbm_ext.training import Streams


def fit_replicates(estimator: Any, x: NDArray, y: NDArray, treated: NDArray[np.bool_], streams: Streams) -> list[Any]:
    """Fit ``estimator.n_bootstrap`` clones, each on n units drawn with replacement, group by group.

    Covariates stay encoded as they were for the estimator itself. A clone of a network holds out some of its own
    units to choose the epoch; copies of them may be among those it is trained on.
    """
    rng = streams.numpy("bootstrap")
    groups = np.flatnonzero(treated), np.flatnonzero(~treated)
    jobs = [
        (np.concatenate([rng.choice(group, len(group)) for group in groups]), int(rng.integers(2**31)))
        for _ in range(estimator.n_bootstrap)
    ]
    plain = estimator._replicate_parameters()

    def fit(units: NDArray, seed: int) -> Any:
        replicate = clone(estimator).set_params(**plain, random_state=seed)
        return replicate.fit(x[units], y[units], treatment=treated[units])

    return Parallel(n_jobs=estimator.n_jobs)(delayed(fit)(units, seed) for units, seed in jobs)


def percentiles(values: NDArray[np.float64], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (1 - level)/2 and (1 + level)/2 quantiles over the first axis."""
    lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return lower, upper
