"""Transport between point clouds: the road of the points against the matrix, closed forms, and its own certificate."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import wbm_ext
from wbm_ext import ConvergenceWarning, solve_points
from wbm_ext._native import BACKEND

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(BACKEND != "native", reason="the plain-torch twin has the road of the matrix alone"),
]
INF = math.inf


def clouds(n, m, d, seed=0, zeros=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, law=torch.randn):
        return law(*shape, generator=generator, dtype=dtype)

    x, y = draw(n, d), draw(m, d) * 0.8 + 0.7
    a, b = draw(n, law=torch.rand) + 0.1, draw(m, law=torch.rand) + 0.1
    if zeros:
        a[::7], b[3::5] = 0.0, 0.0
    return x, y, a / a.sum(), b / b.sum()


def both_roads(x, y, a, b, **options):
    results = []
    for road in ("matrix", "points"):
        inputs = [t.clone().requires_grad_() for t in (x, y, a, b)]
        result = solve_points(*inputs, road=road, max_iter=20000, **options)
        sharp = torch.autograd.grad(result.cost, inputs, retain_graph=True)
        regularized = torch.autograd.grad(result.regularized_cost, inputs)
        results.append((result, sharp, regularized))
    return results


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("reference", ["entropy", "product"])
@pytest.mark.parametrize("kappa", [(INF, INF), (0.5, 0.8), (INF, 0.5), (0.5, INF)], ids=str)
def test_the_roads_agree_in_costs_potentials_and_gradients(kappa, reference, p):
    x, y, a, b = clouds(200, 150, 2)
    if kappa != (INF, INF):
        b = 1.3 * b
    epsilon = 0.05 if p == 2 else 0.1
    (matrix, sharp, regularized), (points, own_sharp, own_regularized) = both_roads(
        x, y, a, b, p=p, epsilon=epsilon, kappa=kappa, reference=reference, tol=1e-9
    )
    assert points.road == "points"
    assert matrix.road == "matrix"
    assert points.converged
    assert points.residual <= 1e-9
    assert points.left_out <= 1e-9
    for name in ("cost", "regularized_cost"):
        assert float(getattr(points, name).detach()) == pytest.approx(float(getattr(matrix, name).detach()), abs=1e-9)
    assert points.transported_mass == pytest.approx(matrix.transported_mass, abs=1e-9)
    torch.testing.assert_close(points.f, matrix.f, atol=1e-8, rtol=0)
    torch.testing.assert_close(points.g, matrix.g, atol=1e-8, rtol=0)
    for found, expected in zip(own_sharp, sharp, strict=True):  # entries of the linear system are float32
        torch.testing.assert_close(found, expected, atol=1e-6 * float(expected.abs().max()), rtol=0)
    for found, expected in zip(own_regularized, regularized, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-8 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(("n", "m", "d", "epsilon"), [(700, 900, 3, 0.01), (300, 300, 1, 0.01), (200, 300, 12, 1.0)])
def test_the_roads_agree_in_every_dimension(n, m, d, epsilon):
    x, y, a, b = clouds(n, m, d)
    matrix = solve_points(x, y, a, b, epsilon=epsilon, tol=1e-9, max_iter=20000, road="matrix")
    points = solve_points(x, y, a, b, epsilon=epsilon, tol=1e-9, max_iter=20000, road="points")
    assert points.converged
    assert float(points.cost) == pytest.approx(float(matrix.cost), abs=1e-8)


@pytest.mark.parametrize("law", ["normal", "uniform", "lattice", "heavy tails", "two clusters"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_an_everyday_blur_converges_by_default(law, d):
    """GeomLoss's default blur .05 on clouds of some thousand points, in which plain iterations crawl."""
    generator = torch.Generator().manual_seed(d)
    shape = (2, 1500, d)
    z = torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "uniform":
        z = torch.rand(shape, generator=generator, dtype=torch.float64)
    elif law == "lattice":
        z = z.mul(4).round().div(4)
    elif law == "heavy tails":
        z = z / torch.rand((2, 1500, 1), generator=generator, dtype=torch.float64).clamp(min=0.02).sqrt()
    elif law == "two clusters":
        z[0, :300] += 4.0
        z[1, 600:] += 4.0
    x, y = z[0], z[1] + 0.5
    result = solve_points(x, y, epsilon=0.005, road="points")
    assert result.converged
    assert result.residual <= 1e-6
    again = (result.plan @ torch.ones(1500) - 1 / 1500).abs().sum() + (
        result.plan.T @ torch.ones(1500) - 1 / 1500
    ).abs().sum()
    assert float(again) <= result.residual + 1e-12  # the certificate: nothing left out makes it worse


def test_entries_evaluated_at_every_pass_give_the_stored_ones_result():
    x, y, a, b = clouds(900, 800, 3)
    stored, evaluated = (solve_points(x, y, a, b, epsilon=0.02, road="points", memory=m) for m in (1 << 28, 0))
    assert evaluated.converged
    assert float(evaluated.cost) == pytest.approx(float(stored.cost), abs=1e-6)


def test_results_repeat_bit_for_bit_on_any_number_of_threads():
    x, y, a, b = clouds(1200, 1000, 2)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            result = solve_points(x, y, a, b, epsilon=0.01, road="points")
            found.append(torch.cat([result.f, result.g]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


def test_a_translation_costs_its_square_wherever_the_points_lie():
    x, _, a, _ = clouds(3000, 1, 2)
    for place in (0.0, 1e6):
        shift = torch.tensor([3.0, 4.0], dtype=torch.float64)
        moved = solve_points(x + place, x + place + shift, a, a, epsilon=0.01, road="points")
        still = solve_points(x + place, x + place, a, a, epsilon=0.01, road="points")
        assert float(moved.cost - still.cost) == pytest.approx(25.0, abs=1e-5)


def test_one_dimension_is_sorting_as_epsilon_falls():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 4000, 1, generator=generator, dtype=torch.float64)
    sorted_cost = float((x.sort(0).values - y.sort(0).values).square().mean())
    found = solve_points(x, y, epsilon=1e-4, road="points")
    assert found.converged
    assert sorted_cost <= float(found.cost) <= sorted_cost + 1e-4  # at most epsilon / 2 more in one dimension


def test_padding_of_mass_zero_may_hold_anything():
    x, y, a, b = clouds(300, 200, 2, zeros=True)
    clean = solve_points(x, y, a, b, epsilon=0.05, road="points")
    x[a == 0], y[b == 0] = math.nan, math.inf
    for road in ("points", "matrix"):
        spoiled_x, spoiled_y = x.clone().requires_grad_(), y.clone().requires_grad_()
        result = solve_points(spoiled_x, spoiled_y, a, b, epsilon=0.05, road=road)
        assert float(result.cost.detach()) == pytest.approx(float(clean.cost), abs=1e-6)
        assert torch.equal(result.f == -INF, a == 0)
        result.cost.backward()
        assert bool(spoiled_x.grad.isfinite().all())
        assert bool((spoiled_x.grad[a == 0] == 0).all())


@pytest.mark.parametrize("road", ["matrix", "points"])
def test_the_plan_is_an_operator_and_the_potentials_are_functions(road):
    x, y, a, b = clouds(120, 90, 2)
    result = solve_points(x, y, a, b, epsilon=0.05, tol=1e-9, max_iter=20000, road=road)
    dense = result.plan.rows(torch.arange(120))
    assert result.plan.shape == (120, 90)
    v = torch.randn(90, 3, dtype=torch.float64)
    torch.testing.assert_close(result.plan @ v, dense @ v, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.plan.T @ a, dense.T @ a, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.plan.T.rows(torch.tensor([3])), dense.T[[3]], atol=1e-12, rtol=0)
    torch.testing.assert_close(result.plan.barycentres(), dense @ y / dense.sum(1, keepdim=True), atol=1e-7, rtol=0)
    torch.testing.assert_close(result.potential(x) + 0.05 * a.log(), result.f, atol=1e-7, rtol=0)
    torch.testing.assert_close(result.potential(y, "y") + 0.05 * b.log(), result.g, atol=1e-7, rtol=0)
    assert result.potential(x[:0]).shape == (0,)


def test_a_lazy_negation_is_read_and_torchs_defaults_change_nothing():
    x, y, a, b = clouds(300, 200, 2)
    plain = solve_points(x, y, a, b, epsilon=0.05, road="points")
    negated = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert negated.is_neg()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float16)
        again = solve_points(negated, y, a, b, epsilon=0.05, road="points")
        product = again.plan @ b
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert float(again.cost) == float(plain.cost)
    assert torch.equal(product, plain.plan @ b)


def test_float32_points_give_float32_costs_and_gradients():
    x, y, *_ = clouds(300, 200, 3, dtype=torch.float32)
    x.requires_grad_()
    result = solve_points(x, y, epsilon=0.05, road="points")
    result.cost.backward()
    assert result.cost.dtype == torch.float32
    assert x.grad.dtype == torch.float32


def test_the_road_is_chosen_by_the_number_of_pairs():
    x, y, *_ = clouds(100, 80, 2)
    assert solve_points(x, y).road == "matrix"
    assert solve_points(*clouds(2500, 2000, 1)[:2], epsilon=0.1).road == "points"


def test_a_budget_that_ends_is_told():
    x, y, *_ = clouds(1000, 1000, 2)
    with pytest.warns(ConvergenceWarning, match=r"1000 and 1000 points .* max_iter"):
        result = solve_points(x, y, epsilon=0.001, max_iter=3, road="points")
    assert not result.converged
    assert result.status_text() == "stopped at max_iter"
    assert math.isfinite(result.residual)


def test_default_epsilon_is_that_of_the_matrix():
    x, y, *_ = clouds(200, 100, 3)
    for p in (1, 2):
        found = {solve_points(x, y, p=p, road=road).epsilon for road in ("matrix", "points")}
        assert max(found) == pytest.approx(min(found), rel=1e-12)


def test_a_second_derivative_is_refused():
    x, y, *_ = clouds(50, 40, 2)
    x.requires_grad_()
    result = solve_points(x, y, epsilon=0.1, road="points")
    (gradient,) = torch.autograd.grad(result.cost, x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(gradient.sum(), x)


X = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [0.0]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"y": torch.zeros(3)}, ValueError, r"y must have shape \(points, d\)"),
        ({"y": torch.zeros(3, 3)}, ValueError, "y must have points of 2 coordinates, got 3"),
        ({"y": torch.zeros(3, 2, dtype=torch.float64)}, TypeError, "y must be torch.float32"),
        ({"x": torch.zeros(3, 2, dtype=torch.int64)}, TypeError, "x must be a dense tensor of float32 or float64"),
        ({"y": torch.zeros(0, 2)}, ValueError, "y must hold between 1 and"),
        ({"a": torch.ones(4)}, ValueError, r"a must have shape \(3,\), one mass a point of x; got \(4,\)"),
        ({"a": torch.tensor([1.0, -1.0, 1.0])}, ValueError, "a must hold finite masses >= 0"),
        ({"b": torch.zeros(3)}, ValueError, "b must hold some positive mass"),
        ({"a": torch.ones(3)}, ValueError, "hard marginals need a and b of the same total; got 3 and 1"),
        ({"x": torch.tensor([[0.0, 0.0], [math.nan, 0.0], [1.0, 1.0]])}, ValueError, "row 1 does not"),
        ({"p": 3}, ValueError, "p must be 1 or 2, got 3"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be"),
        ({"epsilon": torch.tensor(0.1, requires_grad=True)}, NotImplementedError, "epsilon has no gradient"),
        ({"kappa": -1.0}, ValueError, "kappa must be"),
        ({"tol": 0.0}, ValueError, "tol must be"),
        ({"max_iter": 0}, ValueError, "max_iter must be an int >= 1"),
        ({"memory": -1}, ValueError, "memory must be a number of bytes"),
        ({"road": "fast"}, ValueError, "road='fast' does not exist"),
        ({"reference": "none"}, ValueError, "reference='none' does not exist"),
    ],
)
def test_bad_input_is_named_before_any_work(arguments, error, message):
    given = {"x": X, "y": X, "epsilon": 0.1, **arguments}
    with pytest.raises(error, match=message):
        solve_points(given.pop("x"), given.pop("y"), **given)


def test_points_that_all_agree_need_an_epsilon():
    with pytest.raises(ValueError, match="epsilon must be given"):
        solve_points(X, X, road="points")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(solve_points(X, X, epsilon=0.1, road="points").cost) == 0.0


def test_the_public_name_is_the_one_in_the_package():
    assert wbm_ext.solve_points is solve_points
