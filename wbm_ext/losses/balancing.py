"""The Wasserstein balancing metric of a batch: WBM Definition 3.1 and Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wbm_ext.losses import fused
from wbm_ext.losses.checks import check_batch, check_points, check_propensity
from wbm_ext.losses.costs import cost_unit, squared_distances
from wbm_ext.losses.discrepancy import Discrepancy, warn_of_collapse
from wbm_ext.losses.groups import split
from wbm_ext.losses.masses import clip_propensity, log_weights
from wbm_ext.losses.options import check_options, options_of, same_parameters
from wbm_ext.solver import solve
from wbm_ext.solver.problem import CriterionName, GradientName, Kappa


@dataclass(frozen=True, eq=False)
class Balance(Discrepancy):
    """WBM of a batch and what tells whether the value means balance or collapse: see :class:`Discrepancy`.

    Attributes
    ----------
    clipped : Tensor, scalar of float64
        Share of the batch whose propensity was clipped.
    """

    clipped: Tensor


def balance(
    propensity: Tensor,
    treatment: Tensor,
    representation: Tensor,
    *,
    logits: bool = False,
    masses: str = "self-normalized",
    against: str = "untreated",
    clip: float = 0.01,
    epsilon: float | Tensor | None = None,
    kappa: Kappa = float("inf"),
    scale_cost: bool = False,
    detach_representation: bool = True,
    tol: float = 1e-6,
    max_iter: int = 1000,
    criterion: CriterionName = "marginal",
    grad: GradientName = "implicit",
    min_ess: float | None = None,
) -> Balance:
    """WBM of a batch with its diagnostics; see :func:`wbm` for formula, parameters, errors and source.

    Returns
    -------
    Balance

    Examples
    --------
    >>> import torch
    >>> q, treated = torch.tensor([0.8, 0.2, 0.5, 0.5]), torch.tensor([1, 1, 0, 0])
    >>> found = balance(q, treated, torch.eye(4))
    >>> round(float(found.value), 4), round(float(found.ess_treated), 4), float(found.ess_other)   # masses 1/5 and 4/5
    (2.0, 1.4706, 2.0)
    """
    check_options(
        masses=masses, against=against, clip=clip, criterion=criterion, grad=grad, min_ess=min_ess, logits=logits,
        scale_cost=scale_cost, detach_representation=detach_representation,
    )  # fmt: skip
    q = check_propensity(propensity, logits)
    treated = check_batch(treatment, len(q), "propensity")
    check_points("representation", representation, len(q))
    groups = split(treated, against=against)
    bounded = clip_propensity(q, clip, logits=logits)
    clipped = (q.detach() != bounded.detach()).double().mean()
    if groups.present is False:
        return Balance(propensity[:0].sum(), None, None, clipped)  # an empty sum: connected, with gradient 0

    a = groups.row_masses(log_weights(bounded, masses, logits=logits))
    if against == "all":
        b = torch.full_like(bounded.detach(), 1.0 / len(q))
    else:
        b = groups.column_masses(log_weights(-bounded if logits else 1 - bounded, masses, logits=logits))
    warn_of_collapse(a, b, min_ess)
    phi = (representation.detach() if detach_representation else representation).to(a.dtype)
    D = groups.cost(squared_distances(groups.row(phi), groups.column(phi)))
    if scale_cost:
        D = D / cost_unit(D, *groups.members(D)).to(D.dtype)
    result = solve(
        D, a, b, epsilon=epsilon, kappa=kappa, tol=tol, max_iter=max_iter, criterion=criterion, grad=grad
    )  # fmt: skip
    return Balance(groups.value(result.cost), result, (a.detach(), b.detach()), clipped)


_OPTIONS = options_of(balance)


@same_parameters(balance)
def wbm(*args: Any, **options: Any) -> Tensor:
    """Wasserstein balancing metric: how far the treated set, reweighted by 1/q, is from the untreated one by 1/(1-q).

        WBM_φ(q) = ⟨D, P*⟩,  D_ij = |φ_i - φ_j|²  (i treated, j untreated),
        P* = argmin ⟨D, P⟩ - ε H(P)  subject to  P1 = a', Pᵀ1 = b',  a' ∝ 1/q_i, b' ∝ 1/(1 - q_j)

    Parameters
    ----------
    propensity : Tensor, shape (B,)
        q = P(treated), in [0, 1], or its logits; the gradient goes here.
    treatment : Tensor, shape (B,)
        bool, or 0 and 1.
    representation : Tensor, shape (B, k)
        φ of each sample.
    logits : bool
        ``propensity`` holds logits z, q = 1/(1 + exp(-z)): stable where q rounds to 0 or 1.
    masses : {"self-normalized", "softmax"}
        a' ∝ 1/q (inverse propensity weighting), or softmax(1/q) as the paper prints it; see
        :func:`inverse_propensity_masses` for why the first is the default.
    against : {"untreated", "all"}
        "untreated" is Definition 3.1. "all" compares with the whole batch at uniform mass: what unbiasedness
        (Theorem 2) needs, and no collapse on that side.
    clip : float
        q is clipped to [clip, 1 - clip]; a clipped q gets no gradient.
    epsilon, kappa, tol, max_iter, criterion, grad
        As in :func:`wbm_ext.solve`. The default ε is 0.05 × the mean of D; ``criterion="scaling"`` stops as the paper's
        Algorithm 1.
    scale_cost : bool
        Divide D by its mean (detached): the value is then free of the scale of φ, and ε relative. Where all points
        coincide D stays 0.
    detach_representation : bool
        True by default: else φ can shrink to make the metric 0 at no gain.
    min_ess : float, optional
        Share of a side's samples below which its effective sample size raises a warning; 0 never does. Default: 0.1
        on the CPU; on CUDA no look, since it would wait for the device.

    Returns
    -------
    Tensor, scalar
        Squared units of φ (none with ``scale_cost``); a connected 0 when one group is empty.

    Raises
    ------
    ValueError, TypeError
        Shapes; on the CPU also propensities outside [0, 1] and treatments other than 0 and 1.

    Warns
    -----
    BalanceWarning
        Once per call site, when reweighting has put most of the mass on a few samples.

    Notes
    -----
    In a batch the two sets share no sample, so the metric is above 0 whatever q (Theorem 1 speaks of a common
    support), and its minimum over free masses puts everything on the closest pair: watch the effective sample sizes
    that :func:`balance` returns.

    Inside ``torch.compile``, ``torch.func`` and CUDA graph capture all B samples stand on both sides, with mass 0 where
    they do not belong: the same number without data-dependent shapes.

    Examples
    --------
    >>> import torch
    >>> phi = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    >>> treated = torch.tensor([True, True, False, False])
    >>> balanced, skewed = torch.full((4,), 0.5), torch.tensor([0.9, 0.1, 0.5, 0.5])
    >>> round(float(wbm(balanced, treated, phi)), 4), round(float(wbm(skewed, treated, phi)), 4)
    (0.0, 0.4)
    """
    given = {**_OPTIONS, **options}
    value = None
    if len(given) == len(_OPTIONS):
        value = fused.balance_value(args, given, lambda *tensors: balance(*tensors, **options).value)
    return balance(*args, **options).value if value is None else value
