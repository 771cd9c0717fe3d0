"""How far apart two groups are before and after inverse propensity weighting, by transport."""

from __future__ import annotations

from typing import Any

import numpy as np

from wbm_ext.datasets._arrays import as_array, as_binary, as_vector, check_same_length, reject
from wbm_ext.errors import check_name
from wbm_ext.metrics.calibration import as_probabilities

AGAINST = ("untreated", "all")


def reweighted_distance(
    representation: Any,
    treatment: Any,
    propensity: Any,
    *,
    against: str = "untreated",
    clip: float = 0.01,
    epsilon: float | None = None,
    scale_cost: bool = True,
) -> dict[str, float]:
    r"""Return WBM of the groups as they are and of the groups weighted by propensities.

    The distance is that of Definition 3.1 of the WBM paper: entropic optimal transport between the treated, masses
    ~ 1 / q, and the untreated, masses ~ 1 / (1 - q), with squared Euclidean cost; before weighting the masses are
    uniform. Two samples without a common unit are never at distance 0: compare with what a random split of the
    same sizes gives.

    Parameters
    ----------
    representation : array, shape (n, k)
        What units are compared in; memory is the number of treated times that of the others.
    treatment : array of 0/1, shape (n,)
        Treated, or observed; both groups must have a unit.
    propensity : array, shape (n,), values in [0, 1]
    against : {"untreated", "all"}
        ``"all"`` compares the treated with every unit at uniform mass, which is what unbiased weighting needs.
    clip : float
        Propensities are clipped to [clip, 1 - clip], in [0, 0.5).
    epsilon : float, optional
        Entropic strength, in the unit of the cost; default 0.05 times its mean.
    scale_cost : bool
        Divide the cost by its mean: 1 is then what a random pair is apart.

    Returns
    -------
    dict
        ``wbm_before``, ``wbm_after``; ``ess_treated`` and ``ess_other``, the effective sample sizes after.

    Raises
    ------
    UnknownNameError
        ``against`` does not exist.
    TypeError, ValueError
        Shapes that do not fit, values that are not finite or out of range, a group without a unit.

    References
    ----------
    "Debiased Recommendation via Wasserstein Causal Balancing", Definition 3.1.
    """
    import torch

    from wbm_ext.losses import balance

    check_name("against", against, AGAINST)
    phi = as_array("representation", representation).astype(np.float64)
    if phi.ndim != 2:
        raise ValueError(f"representation must be 2-d, shape (n, k); got shape {phi.shape}")
    reject("representation", ~np.isfinite(phi), phi, "values must be finite")
    treated = as_binary("treatment", as_vector("treatment", treatment))
    q = as_probabilities(as_vector("propensity", propensity))
    check_same_length(representation=phi, treatment=treated, propensity=q)
    if treated.all() or not treated.any():
        raise ValueError(f"treatment must hold both groups; got {int(treated.sum())} treated of {len(treated)}")

    group, space = torch.as_tensor(treated), torch.as_tensor(phi)
    options: dict[str, Any] = {"against": against, "clip": clip, "epsilon": epsilon, "scale_cost": scale_cost}
    with torch.no_grad():
        before, after = (
            balance(torch.as_tensor(values), group, space, tol=1e-6, max_iter=10_000, **options)
            for values in (np.full(len(q), 0.5), q)
        )
    return {
        "wbm_before": float(before.value),
        "wbm_after": float(after.value),
        "ess_treated": float(after.ess_treated),
        "ess_other": float(after.ess_other),
    }
