"""Generated treatment-effect data with every truth known, and the toy that shows what a hidden confounder does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import check_count, check_real
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.errors import check_name

SURFACES = ("linear", "nonlinear")
TOY_SURFACES = ("monotone", "non-monotone")


def make_treatments(
    n: int = 1000,
    n_features: int = 10,
    *,
    surface: str = "nonlinear",
    overlap: float = 0.5,
    treated: float = 0.3,
    heterogeneity: float = 1.0,
    hidden: float = 0.0,
    outliers: float = 0.0,
    outlier_scale: float = 5.0,
    noise: float = 1.0,
    random_state: int | np.random.Generator | None = 0,
) -> Treatments:
    r"""Generate units whose propensity, expected outcomes and hidden confounder are known.

    With x standard normal, h standard normal and hidden, and u, v, w the projections of x on three orthonormal
    directions drawn at random::

        logit e = c + (1 / overlap - 1) (u + w) / sqrt(2) + hidden h,    c solves mean(e) = treated
        t ~ Bernoulli(e)
        linear       mu0 = u + v + hidden h
                     tau = 1 + heterogeneity w
        nonlinear    mu0 = 2 sin(u) + (v^2 - 1) / sqrt(2) + hidden h
                     tau = 1 + heterogeneity (w + sign(u w)) / sqrt(2)
        mu1 = mu0 + tau
        y_t = mu_t + noise times a standard normal error

    u confounds, v is for the outcome only, w decides treatment and effect: who gains more is treated more. tau has
    mean 1 and standard deviation ``heterogeneity`` over the normal units. Outliers are units with x multiplied by
    ``outlier_scale`` before anything is computed from it; their outcomes and effects are those of the formulae.

    Draws do not depend on the knobs: calls that differ in ``overlap`` or ``treated`` alone have the same units, and
    ``y`` and ``y_cf`` differ only by which of the two outcomes was seen.

    Parameters
    ----------
    n, n_features : int
        Units, and covariates of each (at least 3).
    surface : {"nonlinear", "linear"}
    overlap : float
        In (0, 1]. 1: covariates do not decide the treatment; towards 0: they decide it alone.
    treated : float
        Expected share of treated units, in (0, 1).
    heterogeneity : float
        Standard deviation of the effect, >= 0.
    hidden : float
        Strength of the confounder h, >= 0, on the log odds of treatment and on both outcomes.
    outliers : float
        Share of outliers, in [0, 1).
    outlier_scale : float
        At least 1.
    noise : float
        Standard deviation of the outcomes given everything, >= 0.
    random_state : int, Generator or None
        Seed of :func:`numpy.random.default_rng`.

    Returns
    -------
    Treatments
        With ``mu0``, ``mu1``, ``y_cf``, ``propensities`` = e, ``hidden`` = h of shape (n, 1) and ``outliers``.

    Raises
    ------
    UnknownNameError
        ``surface`` does not exist.
    TypeError, ValueError
        An argument that is not a number or out of its range.

    Examples
    --------
    >>> from wbm_ext.datasets import make_treatments
    >>> data = make_treatments(500, overlap=1.0)
    >>> round(float(data.propensities.std()), 6)
    0.0
    """
    n, n_features = check_count("n", n), check_count("n_features", n_features, 3)
    check_name("surface", surface, SURFACES)
    overlap, treated = check_real("overlap", overlap, 0, 1), check_real("treated", treated, 0, 1)
    if overlap == 0:
        raise ValueError("overlap must be above 0; got 0.0")
    if not 0 < treated < 1:
        raise ValueError(f"treated must be above 0 and below 1; got {treated}")
    heterogeneity, hidden = check_real("heterogeneity", heterogeneity, 0), check_real("hidden", hidden, 0)
    outliers, noise = check_real("outliers", outliers, 0, 1), check_real("noise", noise, 0)
    outlier_scale = check_real("outlier_scale", outlier_scale, 1)

    rng = np.random.default_rng(random_state)
    directions = np.linalg.qr(rng.standard_normal((n_features, 3)))[0]
    X, h, errors = rng.standard_normal((n, n_features)), rng.standard_normal(n), rng.standard_normal((2, n))
    draw, rank = rng.random(n), rng.permutation(n)
    odd = rank < round(outliers * n)
    X[odd] *= outlier_scale

    u, v, w = (X @ directions).T
    e = _treated_share((1.0 / overlap - 1.0) * (u + w) / np.sqrt(2) + hidden * h, treated)
    t = draw < e
    if surface == "linear":
        mu0, shape = u + v, w
    else:
        mu0, shape = 2 * np.sin(u) + (v**2 - 1) / np.sqrt(2), (w + np.sign(u * w)) / np.sqrt(2)
    mu0 = mu0 + hidden * h
    mu1 = mu0 + 1 + heterogeneity * shape
    y0, y1 = mu0 + noise * errors[0], mu1 + noise * errors[1]
    return Treatments(
        X,
        t.astype(np.int64),
        np.where(t, y1, y0),
        mu0=mu0,
        mu1=mu1,
        y_cf=np.where(t, y0, y1),
        propensities=e,
        hidden=h[:, None],
        outliers=odd,
        name=f"synthetic-{surface}",
        licence="generated; free of third-party rights",
        source="wbm_ext.datasets.make_treatments",
    )


def make_hidden_toy(
    n: int = 400,
    *,
    surface: str = "monotone",
    treated: float = 0.5,
    exchange: float = 0.0,
    effect: float = 0.0,
    noise: float = 0.0,
    random_state: int | np.random.Generator | None = 0,
) -> Treatments:
    r"""Generate the toy of ESCFR's Figure 9: balanced covariates, and a confounder that only the outcome shows.

    R1 and R2 are uniform on [-1, 1] in both groups, so they are balanced already. The hidden X' is 1 for treated
    and 0 for untreated units, the other way round with probability ``exchange``::

        monotone        mu0 = sqrt(R1^2 + R2^2 + X'^2)              (a); Assumption D.1 holds
        non-monotone    mu0 = sqrt(R1^2 + R2^2 + (X' - 1/2)^2)      (c); both values of X' give the same outcome
        mu1 = mu0 + effect

    The difference of the groups' mean outcomes at equal R is due to X' alone where ``effect`` is 0.

    Parameters
    ----------
    n : int
        Units, at least 2.
    surface : {"monotone", "non-monotone"}
    treated : float
        Share of treated units, in (0, 1), up to rounding; both groups get a unit.
    exchange : float
        In [0, 1/2]; at one half X' confounds nothing.
    effect : float
        The same for every unit; the figure has 0.
    noise : float
        Standard deviation of the outcomes, >= 0.
    random_state : int, Generator or None
        Seed of :func:`numpy.random.default_rng`.

    Returns
    -------
    Treatments
        ``X`` = (R1, R2) of shape (n, 2), ``hidden`` = X' of shape (n, 1).

    Raises
    ------
    UnknownNameError
        ``surface`` does not exist.
    TypeError, ValueError
        An argument that is not a number or out of its range.

    References
    ----------
    Wang et al., "Optimal Transport for Treatment Effect Estimation", NeurIPS 2023, Appendix D.3, Figure 9.
    """
    n = check_count("n", n, 2)
    check_name("surface", surface, TOY_SURFACES)
    treated, exchange = check_real("treated", treated, 0, 1), check_real("exchange", exchange, 0, 0.5)
    effect, noise = check_real("effect", effect), check_real("noise", noise, 0)
    n_treated = round(treated * n)
    if not 0 < n_treated < n:
        raise ValueError(f"treated must give both groups a unit; got {treated}, i.e. {n_treated} of {n}")

    rng = np.random.default_rng(random_state)
    t = rng.permutation(n) < n_treated
    R, errors = rng.uniform(-1, 1, (n, 2)), rng.standard_normal((2, n))
    confounder = np.where(rng.random(n) < exchange, ~t, t).astype(np.float64)
    offset = 0.0 if surface == "monotone" else 0.5
    mu0 = np.sqrt(np.square(R).sum(axis=1) + (confounder - offset) ** 2)
    mu1 = mu0 + effect
    y0, y1 = mu0 + noise * errors[0], mu1 + noise * errors[1]
    return Treatments(
        R,
        t.astype(np.int64),
        np.where(t, y1, y0),
        mu0=mu0,
        mu1=mu1,
        y_cf=np.where(t, y0, y1),
        names=("R1", "R2"),
        hidden=confounder[:, None],
        name=f"toy-{surface}",
        licence="generated; free of third-party rights",
        source="wbm_ext.datasets.make_hidden_toy",
    )


def _treated_share(index: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-c - index)), with the c that gives it the wanted mean, by bisection."""

    def probability(c: float) -> NDArray[np.float64]:
        # tanh does not overflow; the floor keeps every probability a number that can be divided by
        return np.maximum(0.5 * (1 + np.tanh(0.5 * (c + index))), np.finfo(np.float64).tiny)

    start = np.log(mean / (1 - mean))
    below, above = start - index.max(), start - index.min()
    for _ in range(100):
        middle = 0.5 * (below + above)
        if probability(middle).mean() < mean:
            below = middle
        else:
            above = middle
    return probability(0.5 * (below + above))
