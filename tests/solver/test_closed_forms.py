"""Values that a page of paper gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

import wbm_ext

REFERENCES = ["entropy", "product"]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize(("n", "m"), [(1, 5), (4, 1), (1, 1)])
def test_one_point_on_a_side_gives_the_product_plan(n, m, reference):
    a, b = torch.rand(n, dtype=torch.float64), torch.rand(m, dtype=torch.float64)
    a, b = a / a.sum(), b / b.sum()
    D = torch.rand(n, m, dtype=torch.float64)
    result = wbm_ext.solve(D, a, b, epsilon=0.01, reference=reference, tol=1e-12)
    torch.testing.assert_close(result.plan, a[:, None] * b[None, :], atol=1e-13, rtol=0)
    torch.testing.assert_close(result.cost, (D * a[:, None] * b[None, :]).sum(), atol=1e-13, rtol=0)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("kappa", [0.1, 1.0, 50.0])
def test_one_point_each_side_unbalanced(kappa, reference):
    # a = b = 1: the mass is exp(-D / (eps + 2 kappa)) in both forms
    D, epsilon = torch.tensor([[0.8]], dtype=torch.float64), 0.3
    result = wbm_ext.solve(D, epsilon=epsilon, kappa=kappa, reference=reference, tol=1e-13, max_iter=100_000)
    expected = math.exp(-0.8 / (epsilon + 2 * kappa))
    assert float(result.transported_mass) == pytest.approx(expected, rel=1e-11)
    assert float(result.cost) == pytest.approx(0.8 * expected, rel=1e-11)
    # at the optimum the objective is kappa (|a| + |b|) + eps |a||b| [product] - (eps + 2 kappa) mass
    objective = 2 * kappa - (epsilon + 2 * kappa) * expected + (epsilon if reference == "product" else 0)
    assert float(result.regularized_cost) == pytest.approx(objective, rel=1e-9)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0])
def test_zero_cost_creates_mass_with_the_entropy_reference_only(kappa):
    n, m, epsilon = 6, 4, 1.0
    D = torch.zeros(n, m, dtype=torch.float64)
    total = {
        reference: float(
            wbm_ext.solve(
                D, epsilon=epsilon, kappa=kappa, reference=reference, tol=1e-13, max_iter=10_000
            ).transported_mass
        )
        for reference in REFERENCES
    }
    assert total["entropy"] == pytest.approx((n * m) ** (epsilon / (epsilon + 2 * kappa)), rel=1e-10)
    assert total["product"] == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("reference", REFERENCES)
def test_constant_cost_scales_the_unbalanced_mass(reference):
    D, epsilon, kappa, c = torch.zeros(5, 3, dtype=torch.float64), 0.4, 0.8, 1.7
    options = {"epsilon": epsilon, "kappa": kappa, "reference": reference, "tol": 1e-13, "max_iter": 10_000}
    ratio = wbm_ext.solve(D + c, **options).transported_mass / wbm_ext.solve(D, **options).transported_mass
    assert float(ratio) == pytest.approx(math.exp(-c / (epsilon + 2 * kappa)), rel=1e-10)


def test_equal_points_give_the_product_plan():
    a = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    result = wbm_ext.solve(torch.full((3, 3), 4.0, dtype=torch.float64), a, a.flip(0), tol=1e-13)
    torch.testing.assert_close(result.plan, a[:, None] * a.flip(0)[None, :], atol=1e-14, rtol=0)
    assert float(result.cost) == pytest.approx(4.0, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_a_large_gap_recovers_the_permutation(seed, dtype):
    # cost 0 along a permutation and at least 1 elsewhere: at eps = 1e-3 the rest holds less than e^-900
    n = 12
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=rng)
    D = 1 + torch.rand(n, n, generator=rng, dtype=dtype)
    D[torch.arange(n), order] = 0
    result = wbm_ext.solve(D, epsilon=1e-3, tol=1e-6)
    expected = torch.zeros(n, n, dtype=dtype)
    expected[torch.arange(n), order] = 1 / n
    assert bool(result.converged)
    torch.testing.assert_close(result.plan, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_small_epsilon_tends_to_the_linear_programme(seed):
    n, m = 6, 5
    rng = np.random.default_rng(seed)
    D, a, b = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    equal = np.zeros((n + m, n * m))
    for i in range(n):
        equal[i, i * m : (i + 1) * m] = 1
    for j in range(m):
        equal[n + j, j::m] = 1
    exact = linprog(D.ravel(), A_eq=equal, b_eq=np.concatenate([a, b]), bounds=(0, None)).fun
    epsilon = 1e-4
    value = wbm_ext.sinkhorn(*map(torch.from_numpy, (D, a, b)), epsilon=epsilon, tol=1e-8, max_iter=200_000)
    # <D,P_eps> exceeds the optimum by at most eps times the entropy's range
    assert exact - 1e-8 <= float(value) <= exact + epsilon * math.log(n * m)


def test_small_epsilon_finds_the_assignment():
    rng = np.random.default_rng(3)
    D = rng.random((15, 15))
    rows, columns = linear_sum_assignment(D)
    value = float(wbm_ext.sinkhorn(torch.from_numpy(D), epsilon=2e-3, tol=1e-6, max_iter=100_000))
    best = D[rows, columns].mean()
    assert best - 1e-7 <= value <= best + 2e-3 * math.log(15)


def test_gaussians_on_a_line():
    """Entropic OT of N(0, s²) and N(u, t²), quadratic cost: Gaussian plan with covariance c = (d - eps/2) / 2.

    d = sqrt(4 s² t² + eps²/4) for D = |x - y|² and reference KL to the product; <D,P> = u² + s² + t² - 2 c.
    (Janati et al. 2020, with sigma² = eps/2.)
    """
    s, t, u, epsilon = 1.0, 0.7, 0.5, 0.4
    grid = torch.linspace(-7, 8, 601, dtype=torch.float64)
    a = torch.exp(-(grid**2) / (2 * s**2))
    b = torch.exp(-((grid - u) ** 2) / (2 * t**2))
    D = (grid[:, None] - grid[None, :]) ** 2
    value = wbm_ext.sinkhorn(D, a / a.sum(), b / b.sum(), epsilon=epsilon, tol=1e-10, max_iter=5000)
    d = math.sqrt(4 * s**2 * t**2 + epsilon**2 / 4)
    expected = u**2 + s**2 + t**2 - (d - epsilon / 2)
    assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_large_kappa_tends_to_the_balanced_problem(reference):
    rng = torch.Generator().manual_seed(0)
    D = torch.rand(8, 6, generator=rng, dtype=torch.float64)
    balanced = wbm_ext.solve(D, epsilon=0.1, tol=1e-12, max_iter=10_000)
    soft = wbm_ext.solve(D, epsilon=0.1, kappa=1e7, reference=reference, tol=1e-12, max_iter=10_000)
    assert bool(soft.converged)
    torch.testing.assert_close(soft.plan, balanced.plan, atol=1e-7, rtol=0)


def test_dear_transport_moves_nothing():
    result = wbm_ext.solve(torch.full((4, 3), 1e6), epsilon=1.0, kappa=1.0)
    assert float(result.transported_mass) == 0.0
    assert float(result.cost) == 0.0
    assert bool(result.converged)
