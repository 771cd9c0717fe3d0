"""What decides which epoch is kept: figures of units held out of training, from their factual outcomes alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from wbm_ext.metrics import auuc, rmse_factual
from wbm_ext.training import Streams

CRITERIA = ("auuc", "factual", "matched_pehe")


class Judges:
    """Held-out units and the three criteria on them.

    ``auuc``
        Area under the joint uplift curve of the estimated effects (the paper's criterion); larger is better.
    ``factual``
        Root mean squared error of the factual outcomes.
    ``matched_pehe``
        sqrt(mean (τ^ - τ~)²), τ~ = ±(y - y of the nearest unit of the other group), covariates standardised; the
        neighbours are sought among all units given to ``fit`` (Shalit et al. 2017 impute so within the held-out part).

    Parameters
    ----------
    x, y, treated : arrays, shapes (n, p), (n,), (n,) bool
        The held-out units.
    pool : tuple of the same three arrays
        Units in which neighbours are sought.
    """

    def __init__(
        self, x: NDArray, y: NDArray, treated: NDArray[np.bool_], pool: tuple[NDArray, NDArray, NDArray]
    ) -> None:
        self.x, self.y, self.treated = x, y, treated
        self.matched_effect = _matched_effect(x, y, treated, *pool)
        # AUUC divides by the difference of the arms' means, which must not be 0.
        self._normalise = bool(y[treated].mean() != y[~treated].mean())

    def __call__(self, outcomes: NDArray[np.float64]) -> dict[str, float]:
        """Return the criteria for outcomes (n, 2) as predicted: without treatment, with treatment."""
        without, with_ = outcomes.T
        effect = with_ - without
        return {
            "auuc": auuc(self.y, self.treated, effect, normalise=self._normalise),
            "factual": rmse_factual(self.y, self.treated, without, with_),
            "matched_pehe": float(np.sqrt(np.square(effect - self.matched_effect).mean())),
        }


def loss_of(criterion: str, figures: dict[str, float]) -> float:
    """Return the criterion as something to minimise."""
    return -figures["auuc"] if criterion == "auuc" else figures[criterion]


def hold_out(treated: NDArray[np.bool_], fraction: float, streams: Streams) -> NDArray[np.int64]:
    """Return the sorted positions of ``fraction`` of each group, at least one unit and not all.

    Raises
    ------
    ValueError
        A group of one unit, which cannot be on both sides.
    """
    rng = streams.numpy("hold-out")
    parts = []
    for name, group in (("treated", np.flatnonzero(treated)), ("untreated", np.flatnonzero(~treated))):
        if len(group) < 2:
            raise ValueError(
                f"treatment must hold at least 2 {name} units, one to train on and one to hold out; got {len(group)}; "
                "selection=None holds nothing out"
            )
        count = min(max(round(fraction * len(group)), 1), len(group) - 1)
        parts.append(rng.permutation(group)[:count])
    return np.sort(np.concatenate(parts))


def _matched_effect(
    x: NDArray, y: NDArray, treated: NDArray[np.bool_], pool_x: NDArray, pool_y: NDArray, pool_treated: NDArray
) -> NDArray[np.float64]:
    scaler = StandardScaler().fit(pool_x)
    effect = np.empty(len(y))
    for group in (True, False):
        others = pool_treated != group
        mine = treated == group
        search = NearestNeighbors(n_neighbors=1).fit(scaler.transform(pool_x[others]))
        matched = pool_y[others][search.kneighbors(scaler.transform(x[mine]), return_distance=False)[:, 0]]
        effect[mine] = y[mine] - matched if group else matched - y[mine]
    return effect
