"""Debiased Sinkhorn divergence: three transport problems, solved as one batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from wbm_ext._native import BACKEND
from wbm_ext.losses.checks import check_pair
from wbm_ext.losses.costs import cost_unit, squared_distances, without_missing
from wbm_ext.losses.discrepancy import Discrepancy
from wbm_ext.losses.options import check_options, same_parameters
from wbm_ext.solver import solve
from wbm_ext.solver.checks import is_transformed, positive_number
from wbm_ext.solver.points import MATRIX_ENTRIES, solve_points
from wbm_ext.solver.problem import GradientName


def _three(x: Tensor, y: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the problems (x, y), (x, x), (y, y): points (dim -2) or masses (-1) padded to one size.

    Points are padded by copies of the last one, masses by zeros.
    """
    size = max(x.shape[dim], y.shape[dim])

    def padded(part: Tensor) -> Tensor:
        missing = size - part.shape[dim]
        if missing == 0:
            return part
        if dim == -1:
            return pad(part, (0, missing))
        return torch.cat([part, part[..., -1:, :].detach().expand(*part.shape[:-2], missing, part.shape[-1])], -2)

    x, y = padded(x), padded(y)
    batch = torch.broadcast_shapes(x.shape[:dim], y.shape[:dim])
    x, y = (part.expand(*batch, *part.shape[dim:]) for part in (x, y))
    return torch.stack([x, x, y]), torch.stack([y, x, y])


def debiased_transport(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor | None = None,
    kappa: float = float("inf"),
    cost: str = "regularized",
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: GradientName = "implicit",
) -> Discrepancy:
    """The divergence with its diagnostics; see :func:`sinkhorn_divergence` for formula, parameters, errors and source.

    Returns
    -------
    Discrepancy
        Its ``result`` holds the problems (x, y), (x, x), (y, y) in this order.

    Examples
    --------
    >>> import torch
    >>> found = debiased_transport(torch.zeros(3, 1), torch.ones(2, 1), epsilon=0.5)
    >>> round(float(found.value), 4), found.result.converged.tolist()
    (1.0, [True, True, True])
    """
    check_options(cost=cost, grad=grad)
    x, y = check_pair(x, y, a, b)
    if 0 in (x.shape[-2], y.shape[-2]):
        return Discrepancy(x[..., :0, :].sum((-2, -1)) + y[..., :0, :].sum((-2, -1)), None, None)
    a = x.new_full(x.shape[:-1], 1.0 / x.shape[-2]) if a is None else a
    b = y.new_full(y.shape[:-1], 1.0 / y.shape[-2]) if b is None else b
    rows, columns = _three(without_missing(x, a), without_missing(y, b), -2)
    row_masses, column_masses = _three(a, b, -1)
    D = squared_distances(rows, columns)
    if epsilon is None:
        epsilon = 0.05 * cost_unit(D[0], row_masses[0], column_masses[0])
    elif not isinstance(epsilon, Tensor):
        epsilon = positive_number("epsilon", epsilon, infinite=False)
    strength = torch.as_tensor(epsilon, dtype=torch.float64, device=D.device)
    result = solve(
        D, row_masses, column_masses, epsilon=strength.expand(D.shape[:-2]), kappa=kappa, reference="product", tol=tol,
        max_iter=max_iter, grad=grad,
    )  # fmt: skip
    values = result.regularized_cost if cost == "regularized" else result.cost
    value = values[0] - (values[1] + values[2]) / 2
    if cost == "regularized":
        # ε KL(P | a bᵀ) counts ε |a| |b|: of the three, ε (|a| - |b|)²/2 is left over
        value = value + strength.to(D.dtype) * (a.sum(-1) - b.sum(-1)).square() / 2
    return Discrepancy(value, result, None)


@same_parameters(debiased_transport)
def sinkhorn_divergence(*args: Any, **options: Any) -> Tensor:
    """Debiased Sinkhorn divergence of two weighted point sets.

        S(x, y) = V(x, y) - V(x, x)/2 - V(y, y)/2 + ε (|a| - |b|)²/2,   D_ij = |x_i - y_j|²
        V = min ⟨D, P⟩ + ε KL(P | a bᵀ) [ + κ KL(P1 | a) + κ KL(Pᵀ1 | b) ]

    The three problems are one batched solve, padded by zero masses to a common size, with one ε; of sets of more than
    2,048 points on the CPU they are solved without a matrix (:func:`wbm_ext.solve_points`; first derivatives only).

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses ≥ 0 in the type of x; uniform with total 1 where not given.
    epsilon : float, optional
        ε, units of D; default 0.05 × the mean of D(x, y) (detached), for all three problems.
    kappa : float
        κ of relaxed marginals, units of D; inf keeps the masses.
    cost : {"regularized", "sharp"}
        What is debiased. "regularized": V above, which makes S ≥ 0, convex in either set of masses and 0 if and only if
        the two measures agree. "sharp": the transport cost ⟨D, P*⟩ alone, as the papers call the discrepancy; 0 when
        they agree, but it can be negative.
    tol, max_iter, grad
        As in :func:`wbm_ext.solve`. With hard marginals the gradient in a and b is that along changes that keep the
        totals.

    Returns
    -------
    Tensor, shape (...)
        Squared units of the points; within ``tol`` of 0 it may be negative. A connected 0 when a set is empty.

    Raises
    ------
    TypeError, ValueError
        Shapes, types, and those of :func:`wbm_ext.solve`.

    References
    ----------
    Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", 2019, Eq. 3 and
    Theorem 1; Séjourné et al., "Sinkhorn divergences for unbalanced optimal transport", 2019, for finite κ.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> a = torch.tensor([0.5, 0.25, 0.25])
    >>> twice = sinkhorn_divergence(x, x[[0, 0, 1, 2]], a, torch.full((4,), 0.25), epsilon=0.5)
    >>> shifted = sinkhorn_divergence(x, x + 3, a, a, epsilon=0.5)
    >>> abs(round(float(twice), 4)), round(float(shifted), 4)
    (0.0, 9.0)
    """
    found = _between_points(*args, **options)
    return debiased_transport(*args, **options).value if found is None else found


def _between_points(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: Any = None,
    kappa: Any = math.inf,
    cost: str = "regularized",
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: str = "implicit",
) -> Tensor | None:
    """The divergence of two large sets without a matrix; None where the matrix is the way."""
    if is_transformed(x, y, a, b) or not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.dim() == y.dim() == 2):
        return None
    largest, numbers = max(len(x), len(y)), (int, float, type(None))
    if (
        BACKEND != "native"
        or largest * largest <= MATRIX_ENTRIES
        or (x.device.type, grad) != ("cpu", "implicit")
        or not (isinstance(epsilon, numbers) and isinstance(kappa, numbers))
    ):
        return None
    check_options(cost=cost, grad=grad)
    x, y = check_pair(x, y, a, b)
    options: dict[str, Any] = {"kappa": kappa, "reference": "product", "tol": tol, "max_iter": max_iter}
    both = solve_points(x, y, a, b, epsilon=epsilon, road="points", **options)
    options |= {"epsilon": both.epsilon, "road": "points"}
    own = [solve_points(z, z, mass, mass, **options) for z, mass in ((x, a), (y, b))]
    if cost == "sharp":
        return both.cost - (own[0].cost + own[1].cost) / 2
    value = both.regularized_cost - (own[0].regularized_cost + own[1].regularized_cost) / 2
    if a is None and b is None:
        return value
    totals = [1.0 if mass is None else mass.sum() for mass in (a, b)]
    return value + both.epsilon * (totals[0] - totals[1]) ** 2 / 2
