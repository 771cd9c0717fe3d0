"""Generated ratings that are missing not at random, with the true propensities and every rating known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import check_count, check_real
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.ratings import Ratings

MARGINAL = (0.405, 0.194, 0.216, 0.138, 0.047)
"""Shares of the ratings 1..5 over all pairs: those of Coat's random test part."""

FALL = 0.8
"""Factor on the propensity for one star less at ``selection=1``; makes P(r >= 3) about .53 in train."""

BIAS_SCALE = 0.5
"""Standard deviation of user and item bias; the low-rank term has 1."""

FEATURE_NOISE = 0.1
"""Standard deviation of the error with which features show the latent quantities."""


def make_ratings(
    n_users: int = 200,
    n_items: int = 300,
    *,
    rank: int = 8,
    density: float = 0.08,
    selection: float = 1.0,
    popularity: float = 0.5,
    affinity: float = 0.0,
    niche: float = 0.0,
    hidden: float = 0.0,
    overlap: float = 0.0,
    noise: float = 0.5,
    test_per_user: int = 16,
    q_min: float = 0.0025,
    random_state: int | np.random.Generator | None = 0,
) -> RatingsDataset:
    r"""Generate a recommender data set in which the probability of observing each pair is known.

    With U, V, b, c, a, p, h and e independent standard normal (U of shape (n_users, rank), V of shape
    (n_items, rank), b and a one a user, c and p one an item, h and e one a pair)::

        k_ui = <U_u, V_i> / sqrt(rank) + 0.5 b_u + 0.5 c_i
        s_ui = k_ui + hidden h_ui + noise e_ui
        r_ui = 1 + number of cuts below s_ui,    cuts: quantiles of s for the shares .405 .194 .216 .138 .047
        w_ui = 0.8^(selection (5 - r_ui)) exp(popularity (a_u + p_i) + (affinity + niche 1[p_i < 0]) k_ui + hidden h_ui)
        q_ui = overlap density + (1 - overlap) min(1, max(q_min, t w_ui)),    t > 0 solves mean(q) = density
        o_ui ~ Bernoulli(q_ui), independently

    ``train`` holds the pairs with o = 1, exactly as drawn (a user or an item may have none), so weighting by
    1/q is unbiased given the ratings. ``test`` holds ``test_per_user`` items of each user, drawn uniformly
    and independently of o; the two may share pairs. Draws do not depend on the strengths: calls that differ only in
    ``selection``, ``popularity``, ``affinity``, ``niche``, ``overlap``, ``density`` or ``q_min`` have the same ratings.

    Parameters
    ----------
    n_users, n_items : int
        Size of the rating matrix.
    rank : int
        Dimension of the latent factors.
    density : float
        Mean propensity, in (q_min, 1).
    selection : float
        How strongly observation depends on the rating itself, >= 0. 0: given popularity, not at all
        (missing at random); 1: about as on Coat.
    popularity : float
        Strength of user activity and item popularity, >= 0.
    affinity : float
        How strongly observation depends on k, the part of the preference that features show, >= 0: a selection
        that a model of the features can learn, while that by the rating itself it cannot.
    niche : float
        The same for the less popular half of the items alone, >= 0: those are seen by the users who like them, so that
        their observed ratings are higher than their ratings, and a model that takes the ratings as they are ranks them
        too high for everybody.
    hidden : float
        Strength of the confounder h, >= 0, which acts on rating and observation and which no feature shows.
        The propensities returned do contain it.
    overlap : float
        Share of the observations that is made at random, in [0, 1]. 0: w alone decides, and propensities fall to
        ``q_min``; 1: every propensity is ``density``.
    noise : float
        Standard deviation of the part of the preference that no model can know, >= 0.
    test_per_user : int
        Test items a user, at most ``n_items``.
    q_min : float
        Smallest propensity, in (0, density).
    random_state : int, Generator or None
        Seed of :func:`numpy.random.default_rng`.

    Returns
    -------
    RatingsDataset
        ``propensities`` = q, ``truth`` = r. ``user_features`` of shape (n_users, rank + 2) are U, b and a,
        ``item_features`` of shape (n_items, rank + 2) are V, c and p, each with normal error of standard
        deviation 0.1.

    Raises
    ------
    TypeError, ValueError
        An argument that is not a number or out of its range.

    Notes
    -----
    The geometric fall of the propensity with the rating is the usual semi-synthetic protocol for debiased
    recommenders (Schnabel et al., ICML 2016, section 6.2), applied to a generated low-rank matrix.

    Examples
    --------
    >>> from wbm_ext.datasets import make_ratings
    >>> data = make_ratings(50, 40, density=0.1)
    >>> round(float(data.propensities.mean()), 6)
    0.1
    """
    n_users, n_items = check_count("n_users", n_users), check_count("n_items", n_items)
    rank = check_count("rank", rank)
    density, q_min = check_real("density", density, 0, 1), check_real("q_min", q_min, 0, 1)
    if not 0 < q_min < density < 1:
        raise ValueError(f"q_min and density must satisfy 0 < q_min < density < 1; got {q_min:g}, {density:g}")
    selection, popularity = check_real("selection", selection, 0), check_real("popularity", popularity, 0)
    affinity, niche = check_real("affinity", affinity, 0), check_real("niche", niche, 0)
    hidden = check_real("hidden", hidden, 0)
    overlap, noise = check_real("overlap", overlap, 0, 1), check_real("noise", noise, 0)
    if check_count("test_per_user", test_per_user) > n_items:
        raise ValueError(f"test_per_user must be at most n_items, {n_items}; got {test_per_user}")

    rng = np.random.default_rng(random_state)
    shape = (n_users, n_items)
    user_factors, item_factors = rng.standard_normal((n_users, rank)), rng.standard_normal((n_items, rank))
    user_bias, item_bias = rng.standard_normal((n_users, 1)), rng.standard_normal((n_items, 1))
    activity, fame = rng.standard_normal((n_users, 1)), rng.standard_normal((n_items, 1))
    confounder, error = rng.standard_normal(shape), rng.standard_normal(shape)

    known = user_factors @ item_factors.T / np.sqrt(rank) + BIAS_SCALE * (user_bias + item_bias.T)
    ratings = _to_stars(known + (hidden * confounder + noise * error))

    log_weight = selection * np.log(FALL) * (5 - ratings)
    log_weight += popularity * (activity + fame.T) + (affinity + niche * (fame.T < 0)) * known + hidden * confounder
    propensities = overlap * density + (1 - overlap) * _scale_to_mean(log_weight, density, q_min)

    train_users, train_items = np.nonzero(rng.random(shape) < propensities)
    test_items = np.sort(np.argsort(rng.random(shape), axis=1)[:, :test_per_user], axis=1).ravel()
    test_users = np.repeat(np.arange(n_users), test_per_user)

    def observe(users: NDArray, items: NDArray) -> Ratings:
        return Ratings(users, items, ratings[users, items], n_users, n_items, scale=(1, 5))

    def show(*columns: NDArray) -> NDArray:
        latent = np.concatenate(columns, axis=1)
        return latent + FEATURE_NOISE * rng.standard_normal(latent.shape)

    return RatingsDataset(
        name="synthetic",
        train=observe(train_users, train_items),
        test=observe(test_users, test_items),
        user_features=show(user_factors, user_bias, activity),
        item_features=show(item_factors, item_bias, fame),
        propensities=propensities,
        truth=ratings,
        threshold=3.0,
        licence="generated; free of third-party rights",
        source="wbm_ext.datasets.make_ratings",
    )


def make_niche_ratings(random_state: int | np.random.Generator | None = 0) -> RatingsDataset:
    """Generate ratings whose selection hurts a model that does not allow for it: niche items, seen by their fans.

    :func:`make_ratings` with 300 users, 200 items, rank 4, density 0.2, ``selection=0``, ``popularity=0.3``,
    ``niche=2``, ``q_min=0.02`` and 40 test items a user.

    Parameters
    ----------
    random_state : int, Generator or None
        Seed of :func:`numpy.random.default_rng`.

    Returns
    -------
    RatingsDataset
        Named "niche-items"; with ``propensities`` and ``truth``.
    """
    found = make_ratings(
        300, 200, rank=4, density=0.2, selection=0.0, popularity=0.3, niche=2.0, q_min=0.02, test_per_user=40,
        random_state=random_state,
    )  # fmt: skip
    return replace(found, name="niche-items", source="wbm_ext.datasets.make_niche_ratings")


def _to_stars(preference: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut the preferences at their own quantiles so that 1..5 have the shares of ``MARGINAL``."""
    cuts = np.quantile(preference, np.cumsum(MARGINAL)[:-1])
    return 1 + np.searchsorted(cuts, preference, side="left")


def _scale_to_mean(log_weight: NDArray[np.float64], mean: float, low: float) -> NDArray[np.float64]:
    """Return clip(t exp(log_weight), low, 1) with the t that gives it the wanted mean, by bisection in log t.

    The mean rises with t from ``low`` (t -> 0) to 1 (t -> inf), so a ``mean`` between has a solution.
    """

    def scaled(log_t: float) -> NDArray[np.float64]:
        return np.maximum(np.exp(np.minimum(log_weight + log_t, 0.0)), low)

    below, above = np.log(low) - log_weight.max(), -log_weight.min()
    for _ in range(100):
        middle = 0.5 * (below + above)
        if scaled(middle).mean() < mean:
            below = middle
        else:
            above = middle
        if not below < 0.5 * (below + above) < above:
            break
    return scaled(above)
