"""A residual is that of the plan delivered: no side of it is taken for exact unless it has been updated last."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

import wbm_ext

D = torch.tensor([[0.4, 0.9, 0.5], [0.1, 3.9, 0.4], [0.1, 0.1, 0.2]], dtype=torch.float64)
A = torch.tensor([0.03, 0.47, 0.5], dtype=torch.float64)
B = torch.tensor([0.00001, 0.99975, 0.00024], dtype=torch.float64)


def _true_residual(D: Tensor, a: Tensor, b: Tensor, epsilon: float, f: Tensor, g: Tensor) -> float:
    plan = torch.exp((f[:, None] + g - D) / epsilon)
    error = (plan.sum(1) - a).abs().sum() + (plan.sum(0) - b).abs().sum()
    return float(error / max(float(plan.sum()), 0.5 * float(a.sum() + b.sum())))


@pytest.mark.parametrize("method", ["auto", "sinkhorn"])
def test_a_solve_after_a_failed_acceleration_ends_at_the_true_cost(method):
    result = wbm_ext.solve(D, A, B, epsilon=0.003, method=method, tol=1e-9)
    assert bool(result.converged)
    assert float(result.cost) == pytest.approx(1.909, abs=1e-3)
    assert _true_residual(D, A, B, 0.003, result.f, result.g) <= 1.1e-9


@pytest.mark.parametrize("limit", [1, 3, 20, 60, 200, 1000])
def test_the_reported_residual_is_that_of_the_delivered_potentials_however_a_solve_ends(limit):
    rng = np.random.default_rng(limit)
    for _ in range(40):
        n, m = rng.integers(2, 9, 2)
        cost = torch.tensor(rng.lognormal(0.0, 1.0, (n, m)))
        a, b = (torch.tensor(rng.dirichlet(np.full(k, 0.2)) + 1e-9) for k in (n, m))
        a, b = a / a.sum(), b / b.sum()
        epsilon = float(cost.mean()) * 10.0 ** rng.uniform(-3.5, -1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
            result = wbm_ext.solve(cost, a, b, epsilon=epsilon, tol=1e-9, max_iter=limit)
        truth = _true_residual(cost, a, b, epsilon, result.f, result.g)
        assert float(result.residual) == pytest.approx(truth, rel=1e-3, abs=1e-10)
        assert bool(result.converged) == (float(result.residual) <= 1e-9)
