"""Discrepancies of moments, to compare transport with: MMD and the difference of means."""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext.losses.checks import check_pair, check_weights
from wbm_ext.losses.costs import squared_distances, without_missing
from wbm_ext.losses.options import check_number, check_options
from wbm_ext.solver.checks import is_transformed


def _check(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensor]:
    """Point sets and masses that fit them and, as far as they can be read, have a total above 0."""
    x, y = check_pair(x, y, a, b)
    for name, mass in (("a", a), ("b", b)):
        if mass is not None and mass.shape[-1]:
            check_weights(name, mass)
            if mass.device.type == "cpu" and not is_transformed(mass) and not bool(mass.any(-1).all()):
                raise ValueError(f"{name} must have a total above 0, got zeros only")
    return without_missing(x, a), without_missing(y, b)


def _normalized(mass: Tensor | None, points: Tensor) -> Tensor:
    if mass is None:
        return points.new_full(points.shape[:-1], 1.0 / points.shape[-2])
    return mass / mass.sum(-1, keepdim=True)


def _present(mass: Tensor | None, points: Tensor) -> Tensor:
    """Which points have a mass."""
    if mass is None:
        return torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
    return (mass > 0).expand(torch.broadcast_shapes(mass.shape, points.shape[:-1]))


def _mean(points: Tensor, mass: Tensor | None) -> Tensor:
    return (_normalized(mass, points)[..., None] * points).sum(-2)


def median_bandwidth(x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """σ = median distance over the pairs of different points of both sets together; no gradient.

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses: points of mass 0 do not count.

    Returns
    -------
    Tensor, shape (...)
        Units of the points.

    Raises
    ------
    TypeError, ValueError
        Shapes, types, fewer than two points.

    References
    ----------
    Gretton et al., "A kernel two-sample test", 2012, section 8.

    Examples
    --------
    >>> import torch
    >>> float(median_bandwidth(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]])))
    2.0
    """
    x, y = check_pair(x, y, a, b)
    z = torch.cat([without_missing(x, a), without_missing(y, b)], -2).detach()
    if z.shape[-2] < 2:
        raise ValueError(f"x and y must hold at least 2 points together, got {z.shape[-2]}")
    i, j = torch.triu_indices(z.shape[-2], z.shape[-2], offset=1, device=z.device)
    D = squared_distances(z, z)[..., i, j]
    if a is None and b is None:
        return D.median(-1).values.sqrt()
    massive = torch.cat([_present(a, x), _present(b, y)], -1)
    return torch.where(massive[..., i] & massive[..., j], D, torch.nan).nanmedian(-1).values.sqrt()


def mmd(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    kernel: str = "rbf",
    bandwidth: float | None = None,
) -> Tensor:
    """Squared maximum mean discrepancy of two weighted point sets.

        MMD² = Σ_ii' a_i a_i' k(x_i, x_i') + Σ_jj' b_j b_j' k(y_j, y_j') - 2 Σ_ij a_i b_j k(x_i, y_j)

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses, divided by their totals; uniform where not given.
    kernel : {"rbf", "linear"}
        k = exp(-|x - y|²/(2σ²)), or x·y, with which MMD² is |Σ a x - Σ b y|².
    bandwidth : float, optional
        σ, units of the points; default the median distance (:func:`median_bandwidth`). Give one where more than half
        of all points coincide, whose median is 0.

    Returns
    -------
    Tensor, shape (...)
        ≥ 0 up to rounding (all pairs enter, i = i' too); a connected 0 when a set is empty.

    Raises
    ------
    TypeError, ValueError
        Shapes, types, unknown kernel, σ ≤ 0; on the CPU also masses that are negative or all 0.

    References
    ----------
    Gretton et al., "A kernel two-sample test", 2012; CFR-MMD of Shalit et al. 2017.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [4.0]])
    >>> float(mmd(x, y, kernel="linear")), round(float(mmd(x, y)), 4)
    (2.25, 0.2122)
    """
    check_options(kernel=kernel, bandwidth=bandwidth)
    x, y = _check(x, y, a, b)
    if 0 in (x.shape[-2], y.shape[-2]):
        return x[..., :0, :].sum((-2, -1)) + y[..., :0, :].sum((-2, -1))
    if kernel == "linear":
        return (_mean(x, a) - _mean(y, b)).square().sum(-1)
    # one kernel matrix of both sets, with the masses of y counted negative
    z, w = torch.cat([x, y], -2), torch.cat([_normalized(a, x), -_normalized(b, y)], -1)
    given = None if bandwidth is None else torch.as_tensor(bandwidth, dtype=x.dtype, device=x.device)
    sigma = median_bandwidth(x, y, a, b) if given is None else given
    scale = (2 * sigma.square()).clamp(min=torch.finfo(x.dtype).tiny)
    K = torch.exp(-squared_distances(z, z) / scale[..., None, None])
    return (w[..., :, None] * K * w[..., None, :]).sum((-2, -1))


def linear_discrepancy(
    x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None, *, share: float = 0.5
) -> Tensor:
    """Difference of means, the linear discrepancy of BNN and CFR.

        2 | p Σ a x - (1 - p) Σ b y |,   at p = 0.5 the distance of the two means

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses, divided by their totals; uniform where not given.
    share : float
        p in (0, 1), the share of treated; CFR puts the data's there, and the value then is above 0 for equal means.

    Returns
    -------
    Tensor, shape (...)
        Units of the points; its gradient is 0 where it is 0. A connected 0 when a set is empty.

    Raises
    ------
    TypeError, ValueError
        Shapes, types, p outside (0, 1); on the CPU also masses that are negative or all 0.

    References
    ----------
    Johansson, Shalit, Sontag, "Learning representations for counterfactual inference", 2016.

    Examples
    --------
    >>> import torch
    >>> float(linear_discrepancy(torch.tensor([[3.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, -2.0]])))
    5.0
    """
    check_number("share", share, above=0, below=1)
    x, y = _check(x, y, a, b)
    if 0 in (x.shape[-2], y.shape[-2]):
        return x[..., :0, :].sum((-2, -1)) + y[..., :0, :].sum((-2, -1))
    return 2 * torch.linalg.vector_norm(share * _mean(x, a) - (1 - share) * _mean(y, b), dim=-1)
