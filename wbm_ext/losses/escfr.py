"""The discrepancy of entire space counterfactual regression: RMPR on a cost calibrated by outcomes (PFOR)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from wbm_ext.losses.checks import check_batch, check_points
from wbm_ext.losses.costs import outcome_columns, pfor_cost, relative_strengths, squared_distances
from wbm_ext.losses.discrepancy import Discrepancy
from wbm_ext.losses.fused import Solved, outcome_value
from wbm_ext.losses.groups import split
from wbm_ext.losses.options import check_options, options_of, same_parameters
from wbm_ext.solver import solve
from wbm_ext.solver.problem import GradientName, Kappa, ReferenceName


def escfr_transport(
    representation: Tensor,
    treatment: Tensor,
    outcome: Tensor | None = None,
    counterfactual: Tensor | None = None,
    *,
    gamma: float = 0.0005,
    kappa: Kappa = 1.0,
    epsilon: float | Tensor | None = 1.0,
    relative: bool = False,
    distance_scale: float = 0.1,
    reference: ReferenceName = "entropy",
    detach_outcomes: bool = False,
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: GradientName = "frozen",
) -> Discrepancy:
    """The ESCFR discrepancy of a batch with its diagnostics; see :func:`escfr_discrepancy` for all else.

    Returns
    -------
    Discrepancy

    Examples
    --------
    >>> import torch
    >>> r, t = torch.tensor([[0.0], [1.0], [0.0], [1.0]]), torch.tensor([1, 1, 0, 0])
    >>> found = escfr_transport(r, t, gamma=0.0, kappa=float("inf"))
    >>> bool(found.result.converged), round(float(found.transported_mass), 4), float(found.ess_treated)
    (True, 1.0, 2.0)
    """
    check_options(
        gamma=gamma, distance_scale=distance_scale, reference=reference, grad=grad, relative=relative,
        detach_outcomes=detach_outcomes,
    )  # fmt: skip
    check_points("representation", representation)
    size = len(representation)
    treated = check_batch(treatment, size, "the batch")
    if gamma and (outcome is None or counterfactual is None):
        missing = "outcome" if outcome is None else "counterfactual"
        raise ValueError(f"{missing} must be given for gamma = {gamma:g}; pass it, or gamma=0 for plain distances")
    named = {"outcome": outcome, "counterfactual": counterfactual} if gamma else {}
    outcomes = [outcome_columns(name, part, representation) for name, part in named.items() if part is not None]
    groups = split(treated)
    if groups.present is False:
        return Discrepancy(representation[:0].sum(), None, None)

    r = representation if representation.dtype == torch.float64 else representation.float()
    if outcomes:
        by_side = [side(part) for part in outcomes for side in (groups.row, groups.column)]
        D = pfor_cost(
            groups.row(r), groups.column(r), *by_side, gamma=gamma, distance_scale=distance_scale,
            detach_outcomes=detach_outcomes,
        )  # fmt: skip
    else:
        D = distance_scale * squared_distances(groups.row(r), groups.column(r))
    D = groups.cost(D)
    uniform = torch.zeros(size, dtype=D.dtype, device=D.device)
    a, b = groups.row_masses(uniform), groups.column_masses(uniform)
    if relative:
        epsilon, kappa = relative_strengths(D, a, b, epsilon, kappa)
    result = solve(
        D, a, b, epsilon=epsilon, kappa=kappa, reference=reference, tol=tol, max_iter=max_iter, grad=grad
    )  # fmt: skip
    return Discrepancy(groups.value(result.cost), result, None)


_OPTIONS = options_of(escfr_transport)


@same_parameters(escfr_transport)
def escfr_discrepancy(*args: Any, **options: Any) -> Tensor:
    """Discrepancy of the two groups of a batch, robust to outliers (RMPR) and aware of outcomes (PFOR).

        L_D = ⟨D^γ, π*⟩,   D^γ_ij = s |r_i - r_j|² + γ [ |ŷ⁰_i - y_j|² + |ŷ¹_j - y_i|² ]   (i treated, j untreated),
        π* = argmin ⟨D^γ, π⟩ - ε H(π) + κ KL(π1 | 1/n) + κ KL(πᵀ1 | 1/m)

    ``γ=0, kappa=inf`` is the discrepancy of CFR-WASS; add ``λ * escfr_discrepancy(...)`` to the factual loss.

    Parameters
    ----------
    representation : Tensor, shape (B, k)
        r = ψ(x).
    treatment : Tensor, shape (B,)
        bool, or 0 and 1.
    outcome : Tensor, shape (B,) or (B, d)
        Factual outcomes y; not needed for γ = 0.
    counterfactual : Tensor, shape of ``outcome``
        ŷ = φ_{1-t}(r), the prediction for the arm that the unit is not in; not needed for γ = 0.
    gamma : float
        γ, units of r² per y²; 0 leaves outcomes out.
    kappa : float, or a pair (treated, untreated)
        κ, strength of mass preservation, units of D^γ; inf keeps the masses.
    epsilon : float or None
        ε, units of D^γ; None: 0.05 × the mean of D^γ.
    relative : bool
        ε and κ are multiples of the mean of D^γ (detached).
    distance_scale : float
        s. Halving it doubles ε and κ beside the distances.
    reference : {"entropy", "product"}
        As in :func:`rmpr`: "entropy" is the printed form, whose mass grows with the batch; "product" the sound one.
    detach_outcomes : bool
        True keeps the gradient of the γ terms from the counterfactual heads.
    grad : {"frozen", "implicit", "unrolled"}
        "frozen" is Algorithm 3: the plan is a constant, the cost is not. This is the exact gradient of the whole
        regularised objective (envelope theorem); of ⟨D^γ, π*⟩ itself, "implicit" is. Either reaches ψ through r, and
        φ₀ at treated, φ₁ at untreated units through ŷ; factual outcomes are data.
    tol, max_iter
        As in :func:`wbm_ext.solve`.

    Returns
    -------
    Tensor, scalar
        Units of D^γ; a connected 0 when one group is empty.

    Raises
    ------
    TypeError, ValueError
        Shapes; γ > 0 without outcomes; on the CPU also treatments other than 0 and 1.

    References
    ----------
    ESCFR, Eq. 12 and 14, Algorithm 3 (with r in the place of x in its step 4); the defaults are the configuration of
    its authors' code for ACIC.

    Examples
    --------
    >>> import torch
    >>> r = torch.tensor([[0.0], [1.0], [0.0], [1.0]], requires_grad=True)
    >>> t, y = torch.tensor([1, 1, 0, 0]), torch.tensor([3.0, 5.0, 1.0, 2.0])
    >>> value = escfr_discrepancy(r, t, y, counterfactual=torch.tensor([1.0, 2.0, 3.0, 5.0]), reference="product")
    >>> value.backward()
    >>> round(float(value.detach()), 4), r.grad.shape
    (0.0478, torch.Size([4, 1]))
    """
    return escfr_solved(*args, **options).value


def escfr_solved(*tensors: Any, **options: Any) -> Solved:
    """:func:`escfr_discrepancy` with the plan's mass and marginal residual: one call of the kernels where it can be."""
    given = {**_OPTIONS, **options}
    found = _fused(tensors, given) if len(given) == len(_OPTIONS) else None
    if found is not None:
        return found
    full = escfr_transport(*tensors, **options)
    return Solved(full.value, full.transported_mass, full.residual)


def _fused(tensors: tuple[Any, ...], options: dict[str, Any]) -> Solved | None:
    """None where something is unusual: ``escfr_transport`` then says what."""
    r, treated, outcome, other = (*tensors, None, None)[:4] if 2 <= len(tensors) <= 4 else (None,) * 4
    gamma, scale = options["gamma"], options["distance_scale"]
    if (
        not isinstance(r, Tensor)
        or not isinstance(treated, Tensor)
        or options["relative"] is not False
        or type(options["detach_outcomes"]) is not bool
        or not (type(gamma) is float and 0 <= gamma < math.inf and type(scale) is float and 0 < scale < math.inf)
    ):
        return None
    if gamma == 0:
        outcome = other = None
    elif not (isinstance(outcome, Tensor) and isinstance(other, Tensor)) or outcome.requires_grad:
        return None
    elif options["detach_outcomes"]:
        other = other.detach()

    def composed(r: Tensor, other: Tensor | None) -> Tensor:
        return escfr_transport(r, treated, outcome, other, **options).value

    return outcome_value(
        *(r, treated, outcome, other),
        scale=scale,
        gamma=gamma,
        composed=composed,
        **{name: options[name] for name in ("epsilon", "kappa", "reference", "tol", "max_iter", "grad")},
    )
