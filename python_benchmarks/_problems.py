"""The problems that benchmarks run on, and a float64 check of plans and gradients that shares no code with solvers.

A plan is the solution of the balanced problem exactly when its marginals are a and b and when it has the form
P_ij = exp((f_i + g_j - D_ij)/ε). Both are read off the plan in numpy, so that no reference solver has to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DIMENSION = 32  # of the clouds
SHIFT = 0.5  # of the second cloud, along every axis


@dataclass(frozen=True, eq=False)
class Problem:
    """One balanced problem or, with D of shape (B, n, m), a batch of them under one ε.

    Attributes
    ----------
    D : ndarray (..., n, m)
        Squared Euclidean cost in the type the solvers get.
    a, b : ndarray (..., n), (..., m)
        Uniform masses of total 1, same type.
    epsilon : float
        Entropic strength, units of D.
    """

    D: np.ndarray
    a: np.ndarray
    b: np.ndarray
    epsilon: float


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|² of points (..., n, k) and (..., m, k)."""
    squares = (x**2).sum(-1)[..., :, None] + (y**2).sum(-1)[..., None, :]
    return np.maximum(squares - 2.0 * x @ np.swapaxes(y, -1, -2), 0.0)


@lru_cache(maxsize=4)
def clouds(n: int, epsilon: float, seed: int = 0, dtype: str = "float32", batch: int | None = None) -> Problem:
    """N(0, I) against N(0.5, I) in 32 dimensions, n points each; ``epsilon`` is in units of mean(D)."""
    rng = np.random.default_rng(seed)
    shape = (n, DIMENSION) if batch is None else (batch, n, DIMENSION)
    x, y = rng.standard_normal(shape), rng.standard_normal(shape) + SHIFT
    D = squared_distances(x, y).astype(dtype)
    mass = np.full(shape[:-1], 1.0 / n, dtype=dtype)
    return Problem(D, mass, mass.copy(), epsilon * float(D.mean(dtype=np.float64)))


def residual(plan: np.ndarray, problem: Problem) -> float:
    """|P1 - a|₁ + |Pᵀ1 - b|₁ over the mass (1) in float64; of a batch the worst problem's. NaN counts as infinite."""
    plan = np.asarray(plan, dtype=np.float64)
    rows = np.abs(plan.sum(-1) - problem.a).sum(-1)
    columns = np.abs(plan.sum(-2) - problem.b).sum(-1)
    worst = float(np.max(rows + columns))
    return worst if np.isfinite(worst) else float("inf")


def misfit(plan: np.ndarray, problem: Problem, floor: float = 1e-30) -> float:
    """How far log P + D/ε is from a sum f_i + g_j: largest deviation (dimensionless) over entries above ``floor``."""
    plans = np.asarray(plan, dtype=np.float64).reshape(-1, *problem.D.shape[-2:])
    costs = problem.D.astype(np.float64).reshape(plans.shape)
    worst = 0.0
    for P, D in zip(plans, costs, strict=True):
        known = np.greater(P, floor)
        if not np.isfinite(P).all() or not known.any():
            return float("inf")
        X = np.where(known, np.log(np.where(known, P, 1.0)) + D / problem.epsilon, np.nan)
        row = X[int(known.sum(1).argmax())]
        with np.errstate(all="ignore"):
            steps = X - row
            filled = known.any(1) & np.isfinite(steps).any(1)
            deviation = steps[filled] - np.nanmedian(steps[filled], axis=1, keepdims=True)
        worst = max(worst, float(np.nanmax(np.abs(deviation))))
    return worst


def plain_plan(problem: Problem, iterations: int, first: str = "rows") -> np.ndarray:
    """Plan in float64 after so many plain iterations from v = 1; ``first`` is the side that is updated first.

    Iterates on exp(-(D - min)/ε), which must not underflow: fine up to max(D)/ε of about 600.
    """
    D = problem.D.astype(np.float64)
    a, b = problem.a.astype(np.float64), problem.b.astype(np.float64)
    K = np.exp(-(D - D.min((-1, -2), keepdims=True)) / problem.epsilon)
    u, v = np.ones_like(a), np.ones_like(b)
    for _ in range(iterations):
        if first == "rows":
            u = a / (K @ v[..., None])[..., 0]
            v = b / (u[..., None, :] @ K)[..., 0, :]
        else:
            v = b / (u[..., None, :] @ K)[..., 0, :]
            u = a / (K @ v[..., None])[..., 0]
    return u[..., :, None] * K * v[..., None, :]


def multipliers(D: np.ndarray, plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """λ (n,) and μ (m,), the derivatives of ⟨D, P⟩ in a and b at the solution P, by a dense float64 linear system.

    With G = D∘P: diag(P1) λ + P μ = G1, Pᵀλ + diag(Pᵀ1) μ = Gᵀ1, last μ pinned to 0 (only sums λ_i + μ_j are defined).
    """
    D, P = D.astype(np.float64), np.asarray(plan, dtype=np.float64)
    n = len(P)
    G = D * P
    H = np.block([[np.diag(P.sum(1)), P], [P.T, np.diag(P.sum(0))]])[:-1, :-1]
    solution = np.linalg.solve(H, np.concatenate([G.sum(1), G.sum(0)])[:-1])
    return solution[:n], np.append(solution[n:], 0.0)


def sharp_gradient(D: np.ndarray, plan: np.ndarray, epsilon: float) -> np.ndarray:
    """d⟨D, P⟩/dD at the solution P of one problem (n, m), masses fixed: P ∘ (1 + (λ_i + μ_j - D_ij)/ε).

    λ and μ as in :func:`multipliers`.
    """
    D, P = D.astype(np.float64), np.asarray(plan, dtype=np.float64)
    lam, mu = multipliers(D, P)
    return P * (1.0 + (lam[:, None] + mu[None, :] - D) / epsilon)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """|got - expected|₁ / |expected|₁, infinite where ``got`` is not finite."""
    got = np.asarray(got, dtype=np.float64)
    error = float(np.abs(got - expected).sum() / np.abs(expected).sum())
    return error if np.isfinite(error) else float("inf")
