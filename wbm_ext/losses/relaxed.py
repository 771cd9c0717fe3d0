"""Transport with relaxed mass preservation (RMPR): ESCFR Definition 3.2."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wbm_ext.losses.checks import check_pair
from wbm_ext.losses.costs import relative_strengths, squared_distances, without_missing
from wbm_ext.losses.discrepancy import Discrepancy
from wbm_ext.losses.options import check_options, same_parameters
from wbm_ext.solver import solve
from wbm_ext.solver.problem import GradientName, Kappa, ReferenceName


def relaxed_transport(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    kappa: Kappa = 1.0,
    epsilon: float | Tensor | None = None,
    relative: bool = False,
    reference: ReferenceName = "entropy",
    tol: float = 1e-6,
    max_iter: int = 1000,
    grad: GradientName = "implicit",
) -> Discrepancy:
    """RMPR of two point sets with its diagnostics; see :func:`rmpr` for formula, parameters, errors and source.

    Returns
    -------
    Discrepancy

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[0.0], [1.0]])
    >>> found = relaxed_transport(x, y, epsilon=0.01, kappa=1.0, reference="product")
    >>> round(float(found.ess_treated), 2), round(float(found.transported_mass), 2)   # the outlier stays behind
    (2.0, 0.81)
    """
    check_options(reference=reference, grad=grad, relative=relative)
    x, y = check_pair(x, y, a, b)
    if 0 in (x.shape[-2], y.shape[-2]):
        return Discrepancy(x[..., :0, :].sum((-2, -1)) + y[..., :0, :].sum((-2, -1)), None, None)
    D = squared_distances(without_missing(x, a), without_missing(y, b))
    if relative:
        epsilon, kappa = relative_strengths(D, a, b, epsilon, kappa)
    result = solve(
        D, a, b, epsilon=epsilon, kappa=kappa, reference=reference, tol=tol, max_iter=max_iter, grad=grad
    )  # fmt: skip
    return Discrepancy(result.cost, result, None)


@same_parameters(relaxed_transport)
def rmpr(*args: Any, **options: Any) -> Tensor:
    """Transport discrepancy with relaxed mass preservation: outliers are left behind instead of dragged along.

        W_{ε,κ} = ⟨D, π*⟩,  D_ij = |x_i - y_j|²,
        π* = argmin ⟨D, π⟩ - ε H(π) + κ KL(π1 | a) + κ KL(πᵀ1 | b),   H(π) = -Σ π (log π - 1)

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
        Point sets (treated and untreated representations).
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses ≥ 0 in the type of x; uniform with total 1 where not given. Zero masses are padding.
    kappa : float, or a pair (rows, columns)
        κ, strength of mass preservation, units of D; inf keeps the masses (balanced transport).
    epsilon : float, optional
        ε, units of D; default 0.05 × the mean of D.
    relative : bool
        ε and κ are multiples of the mean of D (detached): the plan is then free of the scale of the points.
    reference : {"entropy", "product"}
        "entropy" is the definition as printed. It creates mass: -ε H rewards spread, and with uniform masses the plan
        of D = 0 has the mass (n m)^(ε/(ε + 2κ)), so that the value depends on the size of the batch and can grow as κ
        falls. "product" has ε KL(π | a bᵀ) in its place: with a and b of total 1 the mass is at most 1, units of large
        D are left out, and n and m do not matter. Take "entropy" to reproduce the paper, "product" otherwise.
    tol, max_iter, grad
        As in :func:`wbm_ext.solve`. ``grad="frozen"`` holds the plan constant, as ESCFR's Algorithm 3 does: exact for
        the whole regularised objective, not for the value returned, and 0 for a and b.

    Returns
    -------
    Tensor, shape (...)
        Squared units of the points, without the entropy and KL terms; a connected 0 when a set is empty.

    Raises
    ------
    TypeError, ValueError
        Shapes, types, and those of :func:`wbm_ext.solve`.

    References
    ----------
    ESCFR, Definition 3.2 (Eq. 8) and Algorithm 2; the sign of H as in Eq. 8, not Eq. 45.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[0.0], [1.0]])
    >>> kept, relaxed = (rmpr(x, y, epsilon=0.01, kappa=k, reference="product") for k in (float("inf"), 1.0))
    >>> round(float(kept), 2), round(float(relaxed), 2)   # the outlier at 9 has a third of the mass
    (21.5, 0.0)
    """
    return relaxed_transport(*args, **options).value
