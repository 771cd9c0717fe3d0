"""Float64 checks of values, potentials and gradients in numpy that share no code with the solver."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from python_benchmarks._problems import multipliers

ROUNDING = 1e-11  # by which residuals computed in two ways may differ


@dataclass(frozen=True)
class Certificate:
    """What potentials prove: plan, residual of the marginals over the mass, sharp cost."""

    plan: np.ndarray
    residual: float
    cost: float


def certify(
    D: np.ndarray, a: np.ndarray, b: np.ndarray, epsilon: float, kappa: float, f: np.ndarray, g: np.ndarray
) -> Certificate:
    """Any f, g whose plan P = exp((f_i + g_j - D_ij)/ε) has the marginals below are optimal, whoever found them.

    P1 = a and Pᵀ1 = b where κ is infinite, else P1 = a exp(-f/κ) and Pᵀ1 = b exp(-g/κ). The residual is the 1-norm of
    both differences over max(ΣP, (Σa + Σb)/2); infinite where the plan is not finite.
    """
    P = np.exp((f[:, None] + g[None, :] - D) / epsilon)
    rows, columns = (a, b) if math.isinf(kappa) else (a * np.exp(-f / kappa), b * np.exp(-g / kappa))
    error = np.abs(P.sum(1) - rows).sum() + np.abs(P.sum(0) - columns).sum()
    residual = float(error / max(P.sum(), (a.sum() + b.sum()) / 2))
    return Certificate(P, residual if np.isfinite(residual) else math.inf, float((D * P).sum()))


def inverse_masses(q: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a ∝ 1/q over the treated, b ∝ 1/(1 - q) over the others, each of total 1 (WBM Definition 3.1)."""
    a, b = 1.0 / q[treated], 1.0 / (1.0 - q[~treated])
    return a / a.sum(), b / b.sum()


def propensity_gradient(D: np.ndarray, plan: np.ndarray, q: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """d⟨D, P⟩/dq at the solution P, by a dense linear system and the chain rule through the masses.

    With weights w = 1/q (1/(1 - q)), total S and a = w/S: d/dw_i = (λ_i - ⟨λ, a⟩)/S, dw/dq = -1/q² (1/(1 - q)²).
    """
    out = np.empty_like(q)
    lam, mu = multipliers(D, plan)
    for members, weight, multiplier, sign in (
        (treated, 1.0 / q[treated], lam, -1.0),
        (~treated, 1.0 / (1.0 - q[~treated]), mu, 1.0),
    ):
        total = weight.sum()
        out[members] = sign * weight**2 * (multiplier - (multiplier * weight).sum() / total) / total
    return out
