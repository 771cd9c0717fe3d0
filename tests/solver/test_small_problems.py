"""Small problems take a path of their own on the CPU; a mask that allows everything sends them to the general one."""

from __future__ import annotations

import pytest
import torch

import wbm_ext
from problems import plain_iteration, plan_of, random_problem
from wbm_ext._native import BACKEND
from wbm_ext.solver.status import Status

pytestmark = pytest.mark.skipif(BACKEND != "native", reason="the twin in torch has one path")

SHAPES = [(1, 1), (1, 5), (5, 1), (4, 4), (16, 16), (31, 17), (17, 31), (32, 32), (33, 48), (64, 64), (64, 3)]
TYPES = [torch.float32, torch.float64]
INF = float("inf")


def problem(n: int, m: int, dtype: torch.dtype, batch: tuple[int, ...] = (), seed: int = 3):
    p = random_problem("balanced", n, m, batch, seed=seed, dtype=dtype)
    return p.D, p.a, p.b


def everything(D: torch.Tensor) -> torch.Tensor:
    return torch.ones(D.shape, dtype=torch.bool)


def gradients(D, a, b, loss, **options):
    D, a, b = (x.detach().clone().requires_grad_() for x in (D, a, b))
    result = wbm_ext.solve(D, a, b, **options)
    found = torch.autograd.grad(loss(result), (D, a, b))
    return result, found


def mixed_loss(result):
    return (
        result.cost.sum()
        + 0.3 * result.regularized_cost.sum()
        + (result._f.sin().sum() - 0.7 * result._g.cos().sum()).to(result.cost.dtype) / 10
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-6), (torch.float64, 1e-11)])
@pytest.mark.parametrize("reference", ["entropy", "product"])
def test_the_solution_is_that_of_a_long_plain_iteration(shape, dtype, tol, reference):
    D, a, b = problem(*shape, dtype)
    epsilon = 0.1 * float(D.mean())
    result = wbm_ext.solve(D, a, b, epsilon=epsilon, tol=tol, reference=reference, max_iter=5000)
    wide = [x.double() for x in (D, a, b)]
    wide[2] *= wide[1].sum() / wide[2].sum()
    f, g = plain_iteration(*wide, epsilon, (INF, INF), reference, 3000)
    plan = plan_of(wide[0], f, g, epsilon)
    assert bool(result.converged)
    assert float(result.residual) <= tol
    close = 20 * tol * float(plan.sum())
    torch.testing.assert_close(result.plan.double(), plan, atol=close, rtol=0)
    assert float(result.cost) == pytest.approx(float((wide[0] * plan).sum()), abs=close * float(D.max()))
    assert float(result.transported_mass) == pytest.approx(float(plan.sum()), rel=2 * tol)
    delivered = plan_of(wide[0], result._f, result._g, epsilon)
    error = (delivered.sum(1) - wide[1]).abs().sum() + (delivered.sum(0) - wide[2]).abs().sum()
    assert float(error / wide[1].sum()) <= tol
    gauge = (wide[1] @ result._f) / wide[1].sum() - (wide[2] @ result._g) / wide[2].sum()
    assert abs(float(gauge)) <= 1e-12 * float(D.max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tol", "close"), [(torch.float32, 1e-6, 2e-4), (torch.float64, 1e-12, 1e-8)])
@pytest.mark.parametrize("reference", ["entropy", "product"])
def test_both_paths_give_the_same_gradients(shape, dtype, tol, close, reference):
    D, a, b = problem(*shape, dtype, batch=(3,))
    options = {"epsilon": 0.1 * float(D.mean()), "tol": tol, "reference": reference, "max_iter": 5000}
    small, mine = gradients(D, a, b, mixed_loss, **options)
    general, others = gradients(D, a, b, mixed_loss, mask=everything(D), **options)
    torch.testing.assert_close(small.cost, general.cost, rtol=close, atol=0)
    torch.testing.assert_close(small.regularized_cost, general.regularized_cost, rtol=close, atol=close)
    for x, y in zip(mine, others, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=close * float(y.abs().max()) + 1e-12)
    assert float(small.backward_residual.max()) <= (1e-9 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("shape", [(1, 5), (4, 4), (9, 17)])
def test_the_gradient_is_the_difference_quotient(shape):
    D, a, b = problem(*shape, torch.float64)
    options = {"epsilon": 0.2 * float(D.mean()), "tol": 1e-13, "max_iter": 5000}
    _, (d_cost, d_a, d_b) = gradients(D, a, b, mixed_loss, **options)
    rng = torch.Generator().manual_seed(1)
    step = 1e-5
    directions = [
        torch.randn(x.shape, dtype=x.dtype, generator=rng) * scale for x, scale in ((D, 1.0), (a, 0.1), (b, 0.1))
    ]
    directions[1] -= directions[1].mean()  # hard marginals: the totals stay
    directions[2] -= directions[2].mean()

    def value(t):
        moved = [x + t * d for x, d in zip((D, a, b), directions, strict=True)]
        return float(mixed_loss(wbm_ext.solve(*moved, **options)))

    expected = (value(step) - value(-step)) / (2 * step)
    found = sum(float((x * d).sum()) for x, d in zip((d_cost, d_a, d_b), directions, strict=True))
    assert found == pytest.approx(expected, rel=2e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["implicit", "frozen"])
def test_the_gradient_of_the_regularised_value_is_the_plan_in_every_entry(dtype, mode):
    D, a, b = problem(23, 30, dtype)
    D[3] += 40 * D.mean() * torch.linspace(0, 1, 30, dtype=dtype)  # entries down to 1e-38 of the others
    result, (d_cost, _, _) = gradients(
        D, a, b, lambda r: r.regularized_cost, epsilon=0.2 * float(D.mean()), tol=1e-6, grad=mode
    )
    plan = result.plan.detach()
    assert float(plan[plan > 0].min()) < 1e-25
    torch.testing.assert_close(d_cost, plan, rtol=2e-6 if dtype == torch.float32 else 1e-10, atol=1e-37)
    assert float(result.backward_residual) == 0.0


@pytest.mark.parametrize("dtype", TYPES)
def test_neither_neighbours_nor_threads_matter(dtype):
    D, a, b = problem(31, 18, dtype, batch=(96,))
    D *= torch.logspace(0, 1.7, 96, dtype=dtype)[:, None, None]  # some are easy, some are left to the general solver
    options = {"epsilon": 0.5, "tol": 1e-6, "max_iter": 3000}
    order = torch.randperm(96, generator=torch.Generator().manual_seed(2))
    before = torch.get_num_threads()
    found = []
    try:
        for threads, index in ((1, torch.arange(96)), (2, torch.arange(96)), (3, order)):
            torch.set_num_threads(threads)
            result, d = gradients(D[index], a[index], b[index], mixed_loss, **options)
            back = torch.argsort(index)
            found.append([x[back] for x in (result._f, result._g, result.cost, result.residual, result.iterations, *d)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
    for p in (0, 40, 95):
        alone, d = gradients(D[p], a[p], b[p], mixed_loss, **options)
        every = [alone._f, alone._g, alone.cost, alone.residual, alone.iterations, *d]
        assert all(torch.equal(x[p], y) for x, y in zip(found[0], every, strict=True))


@pytest.mark.parametrize("dtype", TYPES)
def test_strides_are_followed(dtype):
    D, a, b = problem(20, 32, dtype)
    expected = wbm_ext.solve(D, a, b, epsilon=1.0)
    room = torch.full((20, 50), torch.nan, dtype=dtype)
    room[:, 7:39] = D
    apart = wbm_ext.solve(room[:, 7:39], a, b, epsilon=1.0)
    expanded = wbm_ext.solve(D.expand(4, 20, 32), a.expand(4, 20), b.expand(4, 32), epsilon=1.0)
    assert torch.equal(apart.plan, expected.plan)
    assert all(torch.equal(plan, expected.plan) for plan in expanded.plan)


def crawling(D, a, b):
    return (D, a, b), {"epsilon": 5e-4 * float(D.mean()), "tol": 1e-6 if D.dtype == torch.float32 else 1e-10}


def skewed(D, a, b):
    a[0] *= 1e-14 if D.dtype == torch.float32 else 1e-80
    b *= a.sum() / b.sum()
    return (D, a, b), {"epsilon": float(D.mean())}


def short(D, a, b):
    return (D, a, b), {"epsilon": 0.05 * float(D.mean()), "max_iter": 3}


def empty(D, a, b):
    a[0] = 0.0
    b *= a.sum() / b.sum()
    return (D, a, b), {"epsilon": float(D.mean())}


def forbidden(D, a, b):
    epsilon = float(D.mean())
    D[1, 2] = torch.inf
    return (D, a, b), {"epsilon": epsilon}


def soft(D, a, b):
    return (D, a, b), {"epsilon": float(D.mean()), "kappa": (1.0, INF)}


def exact(D, a, b):
    return (D, a, b), {"epsilon": float(D.mean()), "tol": 0.0, "max_iter": 20}


def warm(D, a, b):
    return (D, a, b), {"epsilon": float(D.mean()), "init": (None, D.mean(0).double())}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", [crawling, skewed, short, empty, forbidden, soft, exact, warm])
@pytest.mark.filterwarnings("ignore::wbm_ext.ConvergenceWarning")
def test_what_is_left_to_the_general_solver_is_solved_by_it(kind, dtype):
    (D, a, b), options = kind(*problem(24, 19, dtype))
    small, mine = gradients(D, a, b, mixed_loss, **options)
    general, others = gradients(D, a, b, mixed_loss, mask=everything(D), **options)
    # Under a mask D's mean, from which the annealing starts, is summed in another order.
    close = 1e-12 * float(D.mean()) if kind is crawling else 0.0
    for x, y in ((small._f, general._f), (small._g, general._g), (small.cost, general.cost)):
        torch.testing.assert_close(x, y, rtol=0, atol=close, equal_nan=True)
    assert int(small.iterations) == int(general.iterations)
    assert int(small.status) == int(general.status)
    for x, y in zip(mine, others, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3 * float(y.abs().max()))


def test_totals_that_differ_a_little_are_made_equal():
    D, a, b = problem(12, 9, torch.float64)
    result = wbm_ext.solve(D, a, b * (1 + 1e-4), epsilon=1.0)
    assert int(result.status) & Status.RESCALED
    assert bool(result.converged)
    torch.testing.assert_close(result.plan.sum(0), b * (a.sum() / b.sum()), rtol=1e-5, atol=0)


def test_total_masses_of_any_size():
    D, a, b = problem(30, 30, torch.float32)
    plain, d = gradients(D, a, b, lambda r: r.cost, epsilon=1.0)
    for scale in (1e-20, 1e20):
        scaled, d_scaled = gradients(D, a * scale, b * scale, lambda r: r.cost, epsilon=1.0)
        torch.testing.assert_close(scaled.cost / scale, plain.cost, rtol=1e-5, atol=0)
        torch.testing.assert_close(d_scaled[0] / scale, d[0], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(d_scaled[1], d[1], rtol=1e-4, atol=1e-4)
