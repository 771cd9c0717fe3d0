"""Cost matrices between two sets of points, and the scale that ε and κ are measured in."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from wbm_ext.losses.checks import check_points, check_sets
from wbm_ext.losses.distances import distances
from wbm_ext.losses.groups import fixed_shapes
from wbm_ext.losses.options import check_flag, check_number
from wbm_ext.solver.checks import positive_number
from wbm_ext.solver.problem import Kappa


def _full(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """D_ij = |x_i - y_j|², each entry to a few roundings of its own.

    Neither the place of the points, nor a scale far from 1, nor an outlier among them costs the distances of the others
    their digits: where the matrix product |x|² + |y|² - 2 x·y would, differences are taken. So are the derivatives.
    Under autocast, and for 16-bit points, it is evaluated in float32.

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
        Points.

    Returns
    -------
    Tensor, shape (..., n, m)
        Squared units of the points; NaN beside a point that is.

    Raises
    ------
    TypeError, ValueError
        No tensors of floating-point numbers, shapes that do not fit.

    Examples
    --------
    >>> import torch
    >>> squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[25.0, 1.0]]
    >>> far = torch.tensor([[1e6], [1e6 + 1], [-9999.0]])
    >>> squared_distances(far, far[:2]).tolist()[:2]
    [[0.0, 1.0], [1.0, 0.0]]
    """
    check_sets(x, y)
    with torch.autocast(x.device.type, enabled=False):
        x, y = _full(x), _full(y)
        if y.dtype != x.dtype:
            raise TypeError(f"y must have the type of x, {x.dtype}, got {y.dtype}")
        return distances(x, y)


def without_missing(points: Tensor, mass: Tensor | None) -> Tensor:
    """Points (..., n, k) whose mass (..., n) is 0 may be NaN or infinite: one that has mass then stands in for them.

    Finite points stay, also where their mass is 0: the gradient in that mass depends on them.
    """
    if mass is None or (not fixed_shapes(points) and points.is_cpu and bool(points.detach().isfinite().all())):
        return points
    batch = torch.broadcast_shapes(points.shape[:-2], mass.shape[:-1])
    points, mass = points.expand(*batch, *points.shape[-2:]), mass.detach().expand(*batch, points.shape[-2])
    if mass.shape[-1] == 0:
        return points
    place = mass.argmax(-1)[..., None, None].expand(*batch, 1, points.shape[-1])
    missing = (mass == 0)[..., None] & ~points.detach().isfinite().all(-1, keepdim=True)
    return torch.where(missing, points.detach().gather(-2, place), points)


def outcome_columns(name: str, value: Tensor, points: Tensor) -> Tensor:
    """An outcome of shape (n,) or (n, d) as columns beside the points (n, k)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    n = points.shape[-2]
    if value.dim() not in (1, 2) or value.shape[0] != n:
        raise ValueError(f"{name} must have shape ({n},) or ({n}, d), got {tuple(value.shape)}")
    return (value if value.dim() == 2 else value[:, None]).to(_full(points).dtype)


def pfor_cost(
    treated: Tensor,
    untreated: Tensor,
    outcome_treated: Tensor,
    outcome_untreated: Tensor,
    counterfactual_treated: Tensor,
    counterfactual_untreated: Tensor,
    *,
    gamma: float,
    distance_scale: float = 1.0,
    detach_outcomes: bool = False,
) -> Tensor:
    """Cost calibrated by outcomes, the proximal factual outcome regulariser (ESCFR Eq. 12).

        D^γ_ij = s |r_i - r_j|² + γ [ |ŷ⁰_i - y_j|² + |ŷ¹_j - y_i|² ]   (i treated, j untreated)

    y_i, y_j are factual outcomes; ŷ⁰_i = φ₀(r_i) is the predicted outcome of the treated unit had it not been treated,
    ŷ¹_j = φ₁(r_j) that of the untreated one under treatment. Either bracket compares two outcomes of one arm: Y⁰ of i
    with Y⁰ of j, and Y¹ of j with Y¹ of i. Units that look alike but answer differently are kept apart.

    The brackets are squared distances too, those of [ŷ⁰_i; y_i] and [y_j; ŷ¹_j].

    Parameters
    ----------
    treated, untreated : Tensor, shape (n, k) and (m, k)
        Representations r.
    outcome_treated, outcome_untreated : Tensor, shape (n,) or (n, d), and (m,) or (m, d)
        Factual outcomes.
    counterfactual_treated, counterfactual_untreated : Tensor of the same shapes
        Predicted outcomes of the arm that the unit is not in.
    gamma : float
        γ ≥ 0, units of r² per y²: with standardised outcomes multiply a γ found for raw ones by the variance of y.
    distance_scale : float
        s > 0.
    detach_outcomes : bool
        False as in Algorithm 3: the gradient reaches r and, through ŷ, the head of the other arm. True: r alone.

    Returns
    -------
    Tensor, shape (n, m)

    Raises
    ------
    TypeError, ValueError
        Representations or outcomes that are no tensors or whose shapes do not fit, γ < 0, s ≤ 0.

    Notes
    -----
    Eq. 11 prints the indices of the factual terms the other way round; these are those of Algorithm 3, step 4, whose
    x_i - x_j in turn is r_i - r_j of Eq. 12 (else the representation would get no gradient).

    Examples
    --------
    >>> import torch
    >>> r = torch.zeros(1, 2)
    >>> outcomes = (torch.tensor([v]) for v in (5.0, 1.0, 1.0, 8.0))   # y_i, y_j, ŷ⁰_i, ŷ¹_j
    >>> round(float(pfor_cost(r, r, *outcomes, gamma=0.1)), 4)   # 0.1 [(1 - 1)² + (8 - 5)²]
    0.9
    """
    check_number("gamma", gamma, least=0)
    check_number("distance_scale", distance_scale, above=0)
    check_flag("detach_outcomes", detach_outcomes)
    check_points("treated", treated)
    check_points("untreated", untreated)
    if untreated.shape[1] != treated.shape[1]:
        raise ValueError(
            f"untreated must have the {treated.shape[1]} coordinates of treated, got shape {tuple(untreated.shape)}"
        )
    y_i = outcome_columns("outcome_treated", outcome_treated, treated)
    y_j = outcome_columns("outcome_untreated", outcome_untreated, untreated)
    other_i = outcome_columns("counterfactual_treated", counterfactual_treated, treated)
    other_j = outcome_columns("counterfactual_untreated", counterfactual_untreated, untreated)
    if len({part.shape[1] for part in (y_i, y_j, other_i, other_j)}) > 1:
        shapes = ", ".join(str(tuple(part.shape)) for part in (y_i, y_j, other_i, other_j))
        raise ValueError(f"outcomes and counterfactuals must have the same number of columns, got {shapes}")
    if detach_outcomes:
        other_i, other_j = other_i.detach(), other_j.detach()
    D = distance_scale * squared_distances(treated, untreated)
    if gamma == 0:
        return D
    return D + gamma * squared_distances(torch.cat([other_i, y_i], 1), torch.cat([y_j, other_j], 1))


def mean_cost(D: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """Mean of D over the pairs with a_i > 0 and b_j > 0, one value per problem, float64, no gradient."""
    D = D.detach()
    if a is None or b is None:
        return D.double().mean((-2, -1))
    batch, (n, m) = D.shape[:-2], D.shape[-2:]
    a, b = a.detach().expand(*batch, n).reshape(-1, n), b.detach().expand(*batch, m).reshape(-1, m)
    return torch.ops.wbm_ext.mean_cost(D.reshape(-1, n, m), a, b, None).reshape(batch)


def cost_unit(D: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """The mean of D, 1 where that is 0: points that all coincide have no scale of their own."""
    mean = mean_cost(D, a, b)
    return torch.where(mean == 0, 1.0, mean)


def relative_strengths(
    D: Tensor, a: Tensor | None, b: Tensor | None, epsilon: float | Tensor | None, kappa: Kappa
) -> tuple[Tensor | None, Kappa]:
    """ε and κ given as multiples of the mean of D, in units of D.

    Raises
    ------
    TypeError, ValueError
        No positive numbers.
    """
    unit = cost_unit(D, a, b)

    def scaled(name: str, value: float | Tensor, *, infinite: bool) -> Tensor:
        return unit * (value if isinstance(value, Tensor) else positive_number(name, value, infinite=infinite))

    strength = None if epsilon is None else scaled("epsilon", epsilon, infinite=False)
    if isinstance(kappa, (tuple, list)):
        sides = tuple(scaled(f"kappa[{k}]", value, infinite=True) for k, value in enumerate(kappa))
        return strength, cast("Kappa", sides)  # two of them: the solve looks
    return strength, scaled("kappa", kappa, infinite=True)
