"""Are the observed and the unobserved pairs alike after weighting? One report, in a fixed representation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from wbm_ext import losses
from wbm_ext.datasets import Ratings, RatingsDataset
from wbm_ext.metrics import clipped_share, effective_sample_size, largest_share
from wbm_ext.recommender.parameters import check_integer, check_number
from wbm_ext.recommender.sampling import PairSpace, stratified_batch
from wbm_ext.training import Streams
from wbm_ext.training.seeding import Seed

PairFunction = Callable[[np.ndarray, np.ndarray], Any]


def balance_report(
    data: Ratings | RatingsDataset,
    propensity: PairFunction | np.ndarray,
    *,
    representation: PairFunction | None = None,
    n_treated: int = 400,
    n_untreated: int = 400,
    floor: float | None = None,
    epsilon: float | None = None,
    random_state: Seed = 0,
) -> dict[str, float | int | str]:
    """Report the transport distance between observed and unobserved pairs before and after weighting.

    ``n_treated`` observed and ``n_untreated`` unobserved pairs are drawn at random (the same ones for the
    same ``random_state``, so that propensities can be compared). Observed pairs get masses ~ 1 / q,
    unobserved ones masses ~ 1 / (1 - q), q clipped to [floor, 1 - floor]. The cost is the squared Euclidean
    distance of representations divided by its mean, so the distances have no unit: 1 is what a random pair is
    apart.

    Parameters
    ----------
    data : Ratings or RatingsDataset
        Of a data set the training ratings are read.
    propensity : callable (users, items) -> array (n,), or array (n_users, n_items)
        P(observed), in [0, 1]; e.g. the method ``propensity`` of a fitted system.
    representation : callable (users, items) -> array (n, p), optional
        What pairs are compared in. Default: the covariates ``data.pair_features``.
    n_treated, n_untreated : int
        Fewer observed pairs are used if there are fewer; unobserved ones are drawn with replacement.
    floor : float, optional
        Default: a quarter of |O| / |D|, as in training.
    epsilon : float, optional
        Entropic regularisation as a share of the mean cost; default 0.05.
    random_state : int, generator of torch or numpy, or None

    Returns
    -------
    dict
        ``wbm_before`` (uniform masses), ``wbm_after``; ``wbm_random``: the same distance between two random
        samples of all pairs with uniform masses and of these sizes, i.e. what no weighting can be expected to
        undercut by balance alone (samples that share no pair are never at distance 0).
        ``smd_before``, ``smd_after``, ``smd_random``: the mean over columns of the absolute standardised mean
        difference; it shows shifts that a distance in many columns hides under its sampling floor.
        ``ess_treated``, ``ess_untreated``, ``largest_share_treated``, ``largest_share_untreated``,
        ``clipped_share`` (of the observed pairs), ``n_treated``, ``n_untreated``, ``floor``, ``representation``.

    Raises
    ------
    ValueError
        If there is no representation, no unobserved pair, or a propensity outside [0, 1].
    """
    for argument, count in (("n_treated", n_treated), ("n_untreated", n_untreated)):
        check_integer(argument, count, least=2)
    check_number("floor", floor, above=0, below=0.5, optional=True)
    check_number("epsilon", epsilon, above=0, optional=True)
    ratings = data.train if isinstance(data, RatingsDataset) else data
    if not isinstance(ratings, Ratings):
        raise TypeError(f"data must be Ratings or a RatingsDataset; got {type(data).__name__}")
    represent, source = _representation(data, representation)

    space = PairSpace(ratings, np.zeros(len(ratings)))
    if space.n_unobserved == 0:
        raise ValueError("data must leave some pairs unobserved; every pair is observed, there is nothing to balance")
    floor = space.density / 4.0 if floor is None else float(floor)
    streams = Streams(random_state)
    generator = streams.torch("balance")
    positions = torch.randperm(space.n_train, generator=generator)[:n_treated]
    batch = stratified_batch(space, positions, n_untreated, generator)
    users, items, observed = (part.numpy() for part in batch[:3])

    q = _values(propensity, users, items)
    phi = torch.as_tensor(np.asarray(represent(users, items), dtype=np.float32))
    treated = 1.0 / np.clip(q[observed], floor, 1.0)
    untreated = 1.0 / (1.0 - np.clip(q[~observed], 0.0, 1.0 - floor))
    keys = torch.randint(space.size, (len(q),), generator=streams.torch("random pairs"))
    anywhere = tuple(part.numpy() for part in space.pairs(keys))
    psi = torch.as_tensor(np.asarray(represent(*anywhere), dtype=np.float32))
    even = np.full(len(q), 0.5)
    return {
        "wbm_before": _distance(even, batch.observed, phi, floor, epsilon),
        "wbm_after": _distance(q, batch.observed, phi, floor, epsilon),
        "wbm_random": _distance(even, batch.observed, psi, floor, epsilon),
        "smd_before": _mean_difference(phi, batch.observed, np.ones_like(treated), np.ones_like(untreated)),
        "smd_after": _mean_difference(phi, batch.observed, treated, untreated),
        "smd_random": _mean_difference(psi, batch.observed, np.ones_like(treated), np.ones_like(untreated)),
        "ess_treated": effective_sample_size(treated),
        "ess_untreated": effective_sample_size(untreated),
        "largest_share_treated": largest_share(treated),
        "largest_share_untreated": largest_share(untreated),
        "clipped_share": clipped_share(q[observed], floor),
        "n_treated": int(observed.sum()),
        "n_untreated": int((~observed).sum()),
        "floor": floor,
        "representation": source,
    }


def _representation(data: Any, given: PairFunction | None) -> tuple[PairFunction, str]:
    if given is not None:
        return given, "given"
    covariates = ("user_features", "item_features")
    if isinstance(data, RatingsDataset) and all(getattr(data, part) is not None for part in covariates):
        return data.pair_features, "covariates"
    raise ValueError(
        "representation must be given when data has no covariates: a function (users, items) -> array (n, p),"
        " say the method embed of a fitted system"
    )


def _values(propensity: PairFunction | np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    q = propensity(users, items) if callable(propensity) else np.asarray(propensity)[users, items]
    q = np.asarray(q, dtype=np.float64)
    if q.shape != users.shape:
        raise ValueError(f"propensity must give one value a pair, shape {users.shape}; got {q.shape}")
    bad = np.flatnonzero(~((q >= 0) & (q <= 1)))
    if len(bad):
        raise ValueError(
            f"propensity must lie in [0, 1]; got {q[bad[0]]} for user {users[bad[0]]}, item {items[bad[0]]}"
        )
    return q


def _mean_difference(phi: torch.Tensor, treated: torch.Tensor, a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean over columns of |mean_a - mean_b| / sd, sd that of all pairs; constants left out."""
    values = phi.double().numpy()
    sd = values.std(axis=0)
    left = np.average(values[treated.numpy()], axis=0, weights=a)
    right = np.average(values[~treated.numpy()], axis=0, weights=b)
    varies = sd > 1e-12
    return float((np.abs(left - right)[varies] / sd[varies]).mean()) if varies.any() else 0.0


def _distance(q: np.ndarray, treatment: torch.Tensor, phi: torch.Tensor, floor: float, epsilon: float | None) -> float:
    propensity = torch.as_tensor(np.clip(q, floor, 1.0 - floor), dtype=phi.dtype)
    with torch.no_grad():
        value = losses.wbm(
            propensity,
            treatment,
            phi,
            clip=floor,
            epsilon=epsilon,
            scale_cost=True,
            tol=1e-4,
            max_iter=5000,
            min_ess=0,  # the report has the effective sample sizes
        )
    return float(value)
