"""The Wasserstein balancing metric of a batch: WBM Definition 3.1 and Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wbm_ext.errors import check_name
from wbm_ext.losses.costs import squared_distances
from wbm_ext.losses.masses import MASSES, effective_sample_size, inverse_propensity_masses
from wbm_ext.solver import SinkhornResult, solve
from wbm_ext.solver.api import Kappa

AGAINST = ("untreated", "all")


@dataclass(frozen=True, eq=False)
class Balance:
    """WBM of a batch and what tells whether the value means balance or collapse.

    Attributes
    ----------
    value : Tensor, scalar
        ⟨D, P*⟩; 0 when one of the two groups is empty.
    ess_treated, ess_other : Tensor, scalar
        Effective sample sizes (Σw)²/Σw² of the treated set and of the one it is compared with; 0 when empty.
    largest_mass : Tensor, scalar
        Largest mass of one sample on either side.
    clipped : Tensor, scalar
        Share of the batch whose propensity was clipped.
    result : SinkhornResult or None
        The solve, None when a group is empty.
    """

    value: Tensor
    ess_treated: Tensor
    ess_other: Tensor
    largest_mass: Tensor
    clipped: Tensor
    result: SinkhornResult | None


def _check(propensity: Tensor, treatment: Tensor, representation: Tensor, clip: float) -> Tensor:
    for name, value in (
        ("propensity", propensity),
        ("treatment", treatment),
        ("representation", representation),
    ):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if not propensity.dtype.is_floating_point or propensity.dim() != 1:
        raise ValueError(
            f"propensity must be a floating-point tensor of shape (B,), got {propensity.dtype} of shape "
            f"{tuple(propensity.shape)}"
        )
    size = propensity.shape[0]
    if treatment.shape != propensity.shape:
        raise ValueError(f"treatment must have the shape of propensity, ({size},), got {tuple(treatment.shape)}")
    if representation.dim() != 2 or representation.shape[0] != size:
        raise ValueError(f"representation must have shape ({size}, k), got {tuple(representation.shape)}")
    if not 0 <= clip < 0.5:
        raise ValueError(f"clip must be in [0, 0.5), got {clip}")
    treated = treatment if treatment.dtype == torch.bool else treatment > 0.5
    if propensity.device.type == "cpu":
        q = propensity.detach()
        if not bool(((q >= 0) & (q <= 1)).all()):
            wrong = int((~((q >= 0) & (q <= 1))).nonzero()[0])
            raise ValueError(f"propensity must be in [0, 1], got propensity[{wrong}] = {float(q[wrong])}")
        if treatment.dtype != torch.bool and not bool(((treatment == 0) | (treatment == 1)).all()):
            wrong = int(((treatment != 0) & (treatment != 1)).nonzero()[0])
            raise ValueError(f"treatment must be 0 or 1, got treatment[{wrong}] = {treatment[wrong].item()}")
    return treated


def balance(
    propensity: Tensor,
    treatment: Tensor,
    representation: Tensor,
    *,
    masses: str = "self-normalized",
    against: str = "untreated",
    clip: float = 0.01,
    epsilon: float | Tensor | None = None,
    kappa: Kappa = float("inf"),
    scale_cost: bool = False,
    detach_representation: bool = True,
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: str = "implicit",
) -> Balance:
    """WBM of a batch with its diagnostics; see :func:`wbm` for the formula and the parameters."""
    check_name("masses", masses, MASSES)
    check_name("against", against, AGAINST)
    treated = _check(propensity, treatment, representation, clip)
    q = propensity.clamp(clip, 1 - clip)
    clipped = (propensity.detach() != q.detach()).double().mean()
    other = ~treated if against == "untreated" else torch.ones_like(treated)
    if not bool(treated.any()) or not bool(other.any()):
        zero = torch.zeros((), dtype=torch.float64, device=propensity.device)
        # 0 times a finite function of q: the value stays connected, its gradient is 0
        return Balance((q * 0).sum(), zero, zero, zero, clipped, None)

    phi = representation.detach() if detach_representation else representation
    phi = phi.to(q.dtype)
    a = inverse_propensity_masses(q[treated], masses)
    if against == "untreated":
        b = inverse_propensity_masses(1 - q[other], masses)
    else:
        b = torch.full_like(q.detach(), 1.0 / len(q))
    D = squared_distances(phi[treated], phi[other])
    if scale_cost:
        D = D / D.detach().mean()
    result = solve(D, a, b, epsilon=epsilon, kappa=kappa, tol=tol, max_iter=max_iter, grad=grad)
    return Balance(
        value=result.cost,
        ess_treated=effective_sample_size(a),
        ess_other=effective_sample_size(b),
        largest_mass=torch.maximum(a.detach().max(), b.detach().max()),
        clipped=clipped,
        result=result,
    )


def wbm(
    propensity: Tensor,
    treatment: Tensor,
    representation: Tensor,
    *,
    masses: str = "self-normalized",
    against: str = "untreated",
    clip: float = 0.01,
    epsilon: float | Tensor | None = None,
    kappa: Kappa = float("inf"),
    scale_cost: bool = False,
    detach_representation: bool = True,
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: str = "implicit",
) -> Tensor:
    """Wasserstein balancing metric: how far the treated set, reweighted by 1/q, is from the untreated one by 1/(1-q).

        WBM_φ(q) = ⟨D, P*⟩,  D_ij = |φ_i - φ_j|²  (i treated, j untreated),
        P* = argmin ⟨D, P⟩ - ε H(P)  subject to  P1 = a', Pᵀ1 = b',  a' ∝ 1/q_i, b' ∝ 1/(1 - q_j)

    Parameters
    ----------
    propensity : Tensor, shape (B,)
        q = P(treated), in [0, 1]; the gradient goes here.
    treatment : Tensor, shape (B,)
        bool, or 0 and 1.
    representation : Tensor, shape (B, k)
        φ of each sample.
    masses : {"self-normalized", "softmax"}
        a' ∝ 1/q (inverse propensity weighting), or softmax(1/q) as the paper prints it; see
        :func:`inverse_propensity_masses` for why the first is the default.
    against : {"untreated", "all"}
        "untreated" is Definition 3.1. "all" compares with the whole batch at uniform mass: what unbiasedness
        (Theorem 2) needs, and no collapse on that side.
    clip : float
        q is clipped to [clip, 1 - clip]; a clipped q gets no gradient.
    epsilon, kappa, tol, max_iter, grad
        As in :func:`wbm_ext.solve`. The default ε is 0.05 × the mean of D.
    scale_cost : bool
        Divide D by its mean (detached): the value is then free of the scale of φ, and ε relative.
    detach_representation : bool
        True by default: else φ can shrink to make the metric 0 at no gain.

    Returns
    -------
    Tensor, scalar
        Squared units of φ (none with ``scale_cost``); a connected 0 when one group is empty.

    Raises
    ------
    ValueError, TypeError
        Shapes; on the CPU also propensities outside [0, 1] and treatments other than 0 and 1.

    Notes
    -----
    In a batch the two sets share no sample, so the metric is above 0 whatever q (Theorem 1 speaks of a common
    support), and its minimum over free masses puts everything on the closest pair: watch the effective sample sizes
    that :func:`balance` returns.

    Examples
    --------
    >>> import torch
    >>> phi = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    >>> treated = torch.tensor([True, True, False, False])
    >>> balanced, skewed = torch.full((4,), 0.5), torch.tensor([0.9, 0.1, 0.5, 0.5])
    >>> round(float(wbm(balanced, treated, phi)), 4), round(float(wbm(skewed, treated, phi)), 4)
    (0.0, 0.4)
    """
    return balance(
        propensity, treatment, representation, masses=masses, against=against, clip=clip, epsilon=epsilon,
        kappa=kappa, scale_cost=scale_cost, detach_representation=detach_representation, tol=tol, max_iter=max_iter,
        grad=grad,
    ).value  # fmt: skip
