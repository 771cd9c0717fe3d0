"""The known truth: a complete rating matrix, who is observed, predictions to be evaluated, propensities as given.

The protocol of Schnabel et al. (ICML 2016, section 6.2), Wang et al. (DR-JL, ICML 2019) and Guo et al. (MRDR, SIGIR
2021): real ratings are completed by matrix factorisation, the completed values are turned by rank into ratings of a
given distribution, and a pair is observed with a probability that falls with its rating.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from python_benchmarks.known_truth.factors import factorise
from wbm_ext.datasets import Ratings

Array = NDArray[np.float64]

MARGINAL = (0.53, 0.24, 0.14, 0.06, 0.03)
"""Shares of the ratings 1..5 over all pairs."""

FALL = 0.25
"""Factor on the propensity for one star less (falling) or more (mirrored), beyond the most observed ratings."""

DENSITY = 0.05
"""Mean propensity."""

SELECTIONS = ("falling", "mirrored")
PREDICTIONS = ("ONE", "THREE", "FOUR", "ROTATE", "SKEW", "CRS")


def complete(ratings: Ratings, shape: tuple[int, int], seed: int) -> Array:
    """A complete matrix of ratings 1..5: rank-10 factorisation, some users and items of it, cut by rank.

    ``seed`` draws the users and the items, without replacement; all of them where ``shape`` asks for as many.
    """
    model = factorise(
        ratings.users, ratings.items, ratings.ratings.astype(float), (ratings.n_users, ratings.n_items),
        rank=10, ridge=3.0, sweeps=8,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    users, items = rng.choice(ratings.n_users, shape[0], False), rng.choice(ratings.n_items, shape[1], False)
    scores = model.matrix()[np.ix_(users, items)]
    share_below = scores.ravel().argsort().argsort() / scores.size
    cuts = np.cumsum(MARGINAL)[:-1]
    return 1.0 + np.searchsorted(cuts, share_below, side="right").reshape(shape)


def true_propensity(truth: Array, selection: str, density: float = DENSITY) -> Array:
    """P(observed): c FALL^max(0, 4 - r), or mirrored c FALL^max(0, r - 2); c gives it the mean ``density``."""
    away = truth - 2 if selection == "mirrored" else 4 - truth
    raw = FALL ** np.maximum(0.0, away)
    return raw * density / raw.mean()


def predictions(truth: Array, rng: np.random.Generator) -> dict[str, Array]:
    """The six predicted rating matrices of the protocol, each wrong in its own way.

    ONE, THREE, FOUR: as many ratings of 1 (3, 4) as there are fives are predicted as 5, all others rightly. ROTATE: one
    star less, 1 becomes 5. SKEW: normal around r with standard deviation (6 - r)/2, clipped to [0, 6]. CRS: 3 up to a
    rating of 3, else 4.
    """
    found, fives = {}, int((truth == 5).sum())
    for name, value in (("ONE", 1), ("THREE", 3), ("FOUR", 4)):
        predicted = truth.copy().ravel()
        places = np.flatnonzero(predicted == value)
        predicted[rng.choice(places, min(fives, len(places)), False)] = 5
        found[name] = predicted.reshape(truth.shape)
    found["ROTATE"] = np.where(truth >= 2, truth - 1, 5.0)
    found["SKEW"] = np.clip(rng.normal(truth, (6 - truth) / 2), 0, 6)
    found["CRS"] = np.where(truth <= 3, 3.0, 4.0)
    return found


MIXTURES = {"0 %": 0.0, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "100 %": 1.0}
"""Share of a constant in the inverse propensities that are given."""

PROPENSITIES = (*MIXTURES, "noise", "learned")


def given_weights(true: Array, learned: Array, density: float, rng: np.random.Generator) -> dict[str, Array]:
    """Inverse propensities of the observed pairs as a user may have them, by kind.

    "b %": (1 - b)/p + b/density. "noise": exp(z)/p with z standard normal. "learned": 1/p of the observation model.
    """
    found = {kind: (1 - share) / true + share / density for kind, share in MIXTURES.items()}
    found["noise"] = np.exp(rng.standard_normal(len(true))) / true
    found["learned"] = 1 / learned
    return found
