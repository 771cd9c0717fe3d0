"""Solves at small epsilon, where plain iterations crawl, with default arguments."""

from __future__ import annotations

import warnings

import pytest
import torch
from random_problems import make_crawling_problem

import wbm_ext

pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("ignore::wbm_ext.ConvergenceWarning")]


def clouds(kind: str, n: int, dimension: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        if kind == "normal":
            return torch.randn(n, dimension, generator=generator, dtype=torch.float64)
        if kind == "uniform":
            return torch.rand(n, dimension, generator=generator, dtype=torch.float64)
        return torch.randint(0, 12, (n, dimension), generator=generator).double() / 4

    x, y = draw(), draw() + 1
    return (x[:, None] - y[None]).square().sum(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blur", [0.1, 0.05])
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("kind", ["normal", "uniform", "lattice"])
def test_clouds_at_the_blur_of_geomloss_converge_with_default_arguments(kind, dimension, blur, dtype):
    for n in (200, 600):
        D = clouds(kind, n, dimension, seed=100 + n)
        result = wbm_ext.solve(D.to(dtype), epsilon=blur**2)
        truth = wbm_ext.solve(D, epsilon=blur**2, tol=1e-10, max_iter=20_000)
        assert bool(result.converged), (n, float(result.residual))
        assert bool(truth.converged)
        assert float(result.cost) == pytest.approx(float(truth.cost), rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.02, 0.005])
def test_a_thousand_points_in_three_dimensions_converge(epsilon):
    for seed in range(100, 103):
        D = clouds("normal", 1000, 3, seed)
        result = wbm_ext.solve(D, epsilon=epsilon)
        plan = torch.exp((result.f[:, None] + result.g - D) / epsilon)
        error = (plan.sum(1) - 1e-3).abs().sum() + (plan.sum(0) - 1e-3).abs().sum()
        assert bool(result.converged)
        assert float(error) <= 1.01e-6
        assert int(result.iterations) < 400


def check(seeds: range) -> None:
    """No problem is given up that plain iterations solve, and hardly one that they do not; none takes more passes than
    they; costs agree."""
    given_up = []
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
            problem = make_crawling_problem(seed)
            result, plain = problem.solve(), problem.solve(method="sinkhorn")
        if not bool(plain.converged):
            given_up += [] if bool(result.converged) else [problem.name]
            continue
        assert bool(result.converged), (problem.name, float(result.residual), float(plain.residual))
        assert int(result.iterations) <= 1.1 * int(plain.iterations) + 60, (problem.name, int(plain.iterations))
        scale = float(problem.D.mean() * plain.plan.sum()) + abs(float(plain.cost))
        assert abs(float(result.cost - plain.cost)) <= 1e-3 * scale, problem.name
    assert len(given_up) <= len(seeds) // 1000, given_up


def test_random_problems_at_small_epsilon_converge_with_default_arguments():
    check(range(200))


@pytest.mark.slow
def test_thousands_of_random_problems_at_small_epsilon_converge_with_default_arguments():
    check(range(200, 6000))
