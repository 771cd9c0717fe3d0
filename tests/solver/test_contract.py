"""What each argument means, to the letter."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import wbm_ext
from problems import CASE_IDS, CASES, INF, KINDS, plain_iteration, plan_of, random_problem
from wbm_ext import ConvergenceWarning, Status

EXACT = {"tol": 1e-12, "max_iter": 20_000}


def test_the_default_epsilon_is_a_twentieth_of_the_mean_admissible_cost():
    p = random_problem("unbalanced", 6, 5, batch=(2,), seed=0)
    p.a[0, 2], p.b[1, 3] = 0.0, 0.0
    p.D[0, 0, 0] = torch.inf
    mask = torch.ones(2, 6, 5, dtype=torch.bool)
    mask[1, 4] = False
    used = wbm_ext.solve(p.D, p.a, p.b, kappa=1.0, mask=mask, max_iter=5000).epsilon
    allowed = mask & p.D.isfinite() & (p.a > 0)[:, :, None] & (p.b > 0)[:, None, :]
    for k in range(2):
        assert float(used[k]) == pytest.approx(0.05 * float(p.D[k][allowed[k]].mean()), rel=1e-12)


def test_the_default_epsilon_carries_no_gradient():
    p = random_problem("balanced", seed=0)
    grads = []
    for epsilon in (None, float(wbm_ext.solve(p.D, p.a, p.b).epsilon)):
        D = p.D.clone().requires_grad_()
        wbm_ext.sinkhorn(D, p.a, p.b, epsilon=epsilon, **EXACT).backward()
        grads.append(D.grad)
    torch.testing.assert_close(*grads, atol=1e-13, rtol=0)


def test_uniform_masses_are_the_default():
    D = random_problem("balanced", 7, 4).D
    a, b = torch.full((7,), 1 / 7, dtype=torch.float64), torch.full((4,), 1 / 4, dtype=torch.float64)
    torch.testing.assert_close(wbm_ext.sinkhorn(D), wbm_ext.sinkhorn(D, a, b), atol=1e-14, rtol=0)


@pytest.mark.parametrize("shapes", [((3,), (3,), (3,)), ((2, 3), (3,), (1,)), ((), (4,), ()), ((0,), (0,), (0,))])
def test_leading_dimensions_broadcast(shapes):
    rng = torch.Generator().manual_seed(0)
    D = torch.rand(*shapes[0], 5, 4, generator=rng, dtype=torch.float64)
    a = torch.rand(*shapes[1], 5, generator=rng, dtype=torch.float64) + 0.1
    b = torch.rand(*shapes[2], 4, generator=rng, dtype=torch.float64) + 0.1
    batch = torch.broadcast_shapes(*shapes)
    result = wbm_ext.solve(D, a, b, epsilon=0.3, kappa=1.0)
    assert result.cost.shape == result.residual.shape == result.status.shape == batch
    assert result.plan.shape == (*batch, 5, 4)
    assert result.f.shape == (*batch, 5)
    full = [x.expand(*batch, *x.shape[-k:]).reshape(-1, *x.shape[-k:]) for x, k in ((D, 2), (a, 1), (b, 1))]
    for index, (D1, a1, b1) in enumerate(zip(*full, strict=True)):
        one = wbm_ext.solve(D1, a1, b1, epsilon=0.3, kappa=1.0)
        torch.testing.assert_close(result.cost.reshape(-1)[index], one.cost, atol=1e-13, rtol=0)


def test_an_empty_batch_has_a_gradient_too():
    D = torch.rand(0, 5, 4, requires_grad=True)
    wbm_ext.sinkhorn(D).sum().backward()
    assert D.grad.shape == (0, 5, 4)


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded batch", "expanded rows", "row slice"])
def test_any_strides(layout):
    rng = torch.Generator().manual_seed(1)
    base = torch.rand(8, 12, generator=rng, dtype=torch.float64)
    D = {
        "transposed": base.T,
        "strided": base[::2, ::3],
        "expanded batch": base.expand(3, 8, 12),
        "expanded rows": base[:1].expand(8, 12),
        "row slice": base[1:6, 2:9],
    }[layout]
    mask = (torch.rand(8, 12, generator=rng) < 0.9).T[: D.shape[-2], : D.shape[-1]] if layout == "transposed" else None
    for options in ({}, {"kappa": 0.5}):
        got = wbm_ext.solve(D, epsilon=0.3, mask=mask, **options)
        expected = wbm_ext.solve(D.contiguous(), epsilon=0.3, mask=mask, **options)
        torch.testing.assert_close(got.plan, expected.plan, atol=0, rtol=0)


def test_epsilon_and_kappa_per_problem():
    p = random_problem("unbalanced", batch=(3,), seed=2)
    epsilon = torch.tensor([0.2, 0.5, 1.0])
    rows, columns = torch.tensor([INF, 1.0, INF]), torch.tensor([0.3, 2.0, INF])
    p.b[2] *= p.a[2].sum() / p.b[2].sum()
    together = wbm_ext.solve(p.D, p.a, p.b, epsilon=epsilon, kappa=(rows, columns), **EXACT)
    for k in range(3):
        pair = (float(rows[k]), float(columns[k]))
        alone = wbm_ext.solve(p.D[k], p.a[k], p.b[k], epsilon=float(epsilon[k]), kappa=pair, **EXACT)
        torch.testing.assert_close(together.plan[k], alone.plan, atol=1e-14, rtol=0)
        assert int(together.iterations[k]) == int(alone.iterations)


@pytest.mark.parametrize("kappa", [0.7, (0.7, 0.7), torch.tensor(0.7), (torch.tensor([0.7]), 0.7), [0.7, 0.7]])
def test_the_forms_of_kappa(kappa):
    p = random_problem("unbalanced", batch=(1,), seed=2)
    expected = wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=0.5, kappa=0.7)
    torch.testing.assert_close(
        wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=0.5, kappa=kappa), expected, atol=1e-8, rtol=1e-7
    )


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_padding_changes_nothing(kind, ref):
    """Ragged batches by zero masses, and by a mask: the same numbers as the problem without padding."""
    p = random_problem(kind, 6, 5, seed=3)
    alone = wbm_ext.solve(p.D, p.a, p.b, kappa=p.kappa, reference=ref, **EXACT)
    D = torch.full((9, 8), 123.0, dtype=torch.float64)
    a, b = torch.zeros(9, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    D[:6, :5], a[:6], b[:5] = p.D, p.a, p.b
    mask = torch.zeros(9, 8, dtype=torch.bool)
    mask[:6, :5] = True
    garbage = torch.where(mask, D, torch.nan)
    for matrix, extra in ((D, {}), (garbage, {"mask": mask})):
        padded = wbm_ext.solve(matrix, a, b, kappa=p.kappa, reference=ref, **extra, **EXACT)
        torch.testing.assert_close(padded.cost, alone.cost, atol=1e-10, rtol=0)  # both to residual 1e-12
        torch.testing.assert_close(padded.regularized_cost, alone.regularized_cost, atol=1e-10, rtol=0)
        torch.testing.assert_close(padded.plan[:6, :5], alone.plan, atol=1e-11, rtol=0)
        torch.testing.assert_close(padded.epsilon, alone.epsilon)
        assert not padded.plan[6:].any()
        assert not padded.plan[:, 5:].any()
        assert bool((padded.f[6:] == -INF).all())


@pytest.mark.parametrize("form", ["result", "pair", "g only"])
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_started_at_the_optimum_it_stops_at_the_first_test(kind, ref, form):
    p = random_problem(kind, 12, 10, batch=(2,), seed=4)
    options = {"epsilon": 0.3, "kappa": p.kappa, "reference": ref, "tol": 1e-9, "max_iter": 20_000}
    cold = wbm_ext.solve(p.D, p.a, p.b, **{**options, "tol": 1e-12})
    init = {"result": cold, "pair": (cold.f, cold.g), "g only": (None, cold.g)}[form]
    warm = wbm_ext.solve(p.D, p.a, p.b, init=init, **options)
    assert int(warm.iterations.max()) == 1
    torch.testing.assert_close(warm.plan, cold.plan, atol=1e-9, rtol=0)


def test_an_init_without_mass_where_mass_is_now():
    p = random_problem("balanced", 5, 4, seed=1)
    b = p.b.clone()
    b[2] = 0
    earlier = wbm_ext.solve(p.D, p.a, b * p.a.sum() / b.sum(), epsilon=0.4, **EXACT)
    assert float(earlier.g[2]) == -INF
    now = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.4, init=earlier, **EXACT)
    expected = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.4, **EXACT)
    torch.testing.assert_close(now.plan, expected.plan, atol=1e-11, rtol=0)


def test_the_scaling_criterion_is_the_papers():
    p = random_problem("balanced", 6, 5, seed=1)
    tau, epsilon = 1e-5, 2.0

    def scalings(iterations):
        f, g = plain_iteration(p.D, p.a, p.b, epsilon, p.kappa, "entropy", iterations)
        return (f / epsilon).exp(), (g / epsilon).exp()

    u, v = torch.ones(6, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for expected in range(1, 1000):
        new_u, new_v = scalings(expected)
        if float((new_u - u).square().sum() + (new_v - v).square().sum()) < tau:
            break
        u, v = new_u, new_v
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=epsilon, criterion="scaling", tol=tau, method="sinkhorn")
    assert int(result.iterations) == expected > 2
    assert bool(result.converged)


def test_an_overflow_of_the_scalings_counts_as_not_met():
    # f / eps above 709: u overflows
    D = torch.tensor([[1000.0, 1001.0], [1002.0, 1000.5]], dtype=torch.float64)
    result = wbm_ext.solve(D, epsilon=1.0, criterion="scaling", tol=1e-3, max_iter=20, validate="none")
    assert not bool(result.converged)
    assert int(result.iterations) == 20


def test_nearly_equal_masses_are_rescaled_and_the_status_says_so():
    p = random_problem("balanced", seed=0)
    scaled = wbm_ext.solve(p.D, p.a, p.b * (1 + 5e-4), epsilon=0.3, **EXACT)
    expected = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, **EXACT)
    assert int(scaled.status) & Status.RESCALED
    assert not int(expected.status) & Status.RESCALED
    assert "rescaled" in scaled.status_text()
    torch.testing.assert_close(scaled.plan, expected.plan, atol=1e-12, rtol=0)


@pytest.mark.parametrize("ref", ["entropy", "product"])
def test_a_soft_row_without_a_partner_stays_home(ref):
    p = random_problem("unbalanced", 5, 4, seed=0)
    p.D[2] = torch.inf
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, kappa=0.9, reference=ref, **EXACT)
    assert bool(result.converged)
    assert not result.plan[2].any()
    assert all(bool(torch.isfinite(x).all()) for x in (result.cost, result.regularized_cost, result.f, result.g))
    # the row adds kappa KL(0 | a) = kappa a to the objective, and its mass to the product reference
    keep = torch.tensor([0, 1, 3, 4])
    without = wbm_ext.solve(p.D[keep], p.a[keep], p.b, epsilon=0.3, kappa=0.9, reference=ref, **EXACT)
    extra = 0.9 * p.a[2] + (0.3 * p.a[2] * p.b.sum() if ref == "product" else 0)
    torch.testing.assert_close(result.regularized_cost, without.regularized_cost + extra, atol=1e-10, rtol=0)


def test_nothing_to_transport():
    D = torch.rand(3, 4)
    for kappa in (INF, 1.0):
        result = wbm_ext.solve(D, torch.zeros(3), torch.zeros(4), kappa=kappa)
        assert float(result.cost) == float(result.residual) == float(result.transported_mass) == 0.0
        assert bool(result.converged)
        assert not result.plan.any()


def test_problems_of_a_batch_stop_separately():
    p = random_problem("balanced", 12, 12, batch=(3,), seed=2)
    epsilon = torch.tensor([5.0, 0.5, 0.2])
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=epsilon, tol=1e-8, max_iter=20_000)
    alone = [int(wbm_ext.solve(p.D[k], p.a[k], p.b[k], epsilon=float(epsilon[k]), tol=1e-8, max_iter=20_000).iterations) for k in range(3)]  # fmt: skip
    assert result.iterations.tolist() == alone
    assert alone[0] < alone[1] < alone[2]


def test_not_converged_warns_with_residual_and_remedy():
    p = random_problem("balanced", 20, 20, seed=0)
    with pytest.warns(ConvergenceWarning, match=r"max_iter with residual .* > tol .*; raise max_iter"):
        result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.05, max_iter=3)
    assert not bool(result.converged)
    assert int(result.status) & Status.ITERATION_LIMIT
    assert "max_iter" in result.status_text()
    assert float(result.residual) > 1e-6


def test_the_warning_comes_once_per_call_site():
    p = random_problem("balanced", 20, 20, batch=(6,), seed=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for k in range(6):  # six residuals, one call site
            wbm_ext.sinkhorn(p.D[k], p.a[k], p.b[k], epsilon=0.05, max_iter=3)
        assert len(seen) == 1
        wbm_ext.sinkhorn(p.D[0], p.a[0], p.b[0], epsilon=0.05, max_iter=3)  # another call site
    assert len(seen) == 2
    assert all(w.filename == __file__ for w in seen)


def test_no_warning_when_the_iterations_were_fixed():
    p = random_problem("balanced", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wbm_ext.solve(p.D, p.a, p.b, epsilon=0.05, tol=0, max_iter=2)


def test_a_tolerance_below_rounding_stops_and_says_so():
    p = random_problem("balanced", seed=0)
    with pytest.warns(ConvergenceWarning, match="stagnated"):
        result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, tol=1e-18, max_iter=100_000)
    assert int(result.iterations) < 2000
    assert float(result.residual) < 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_both_references_give_one_plan_when_both_marginals_are_hard(kind):
    p = random_problem(kind, seed=3)
    plans = [
        wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, kappa=p.kappa, reference=r, **EXACT).plan for r in ("entropy", "product")
    ]  # fmt: skip
    same = torch.allclose(*plans, atol=1e-10)
    assert same == p.both_hard


def test_the_gauge():
    p = random_problem("balanced", seed=3)
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3)
    assert float((p.a * result.f).sum() / p.a.sum()) == pytest.approx(float((p.b * result.g).sum() / p.b.sum()))


def test_the_cost_of_sinkhorn_is_named():
    p = random_problem("unbalanced", seed=3)
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, kappa=1.0)
    sharp = wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=0.3, kappa=1.0)
    regularized = wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=0.3, kappa=1.0, cost="regularized")
    assert float(sharp) == float(result.cost)
    assert float(regularized) == float(result.regularized_cost) != float(sharp)
    assert float((p.D * result.plan).sum()) == pytest.approx(float(sharp), rel=1e-12)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_the_regularised_cost_is_the_stated_objective(kind, ref):
    p = random_problem(kind, seed=5)
    r = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, kappa=p.kappa, reference=ref, **EXACT)
    P = r.plan

    def kl(x, y):
        return (x * (x / y).log() - x + y).sum()

    if ref == "entropy":
        value = (p.D * P).sum() + 0.3 * (P * (P.log() - 1)).sum()
    else:
        value = (p.D * P).sum() + 0.3 * kl(P, p.a[:, None] * p.b[None, :])
    for k, sums, mass in ((p.kappa[0], P.sum(1), p.a), (p.kappa[1], P.sum(0), p.b)):
        if not math.isinf(k):
            value = value + k * kl(sums, mass)
    assert float(r.regularized_cost) == pytest.approx(float(value), abs=1e-10)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_the_residual_is_the_stated_one(kind, ref):
    p = random_problem(kind, seed=5)
    for options in ({"tol": 0, "max_iter": 2}, {"tol": 1e-3}):
        r = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, kappa=p.kappa, reference=ref, **options)
        P = plan_of(p.D, r.f, r.g, 0.3)
        error = 0.0
        for k, potential, sums, mass in ((p.kappa[0], r.f, P.sum(1), p.a), (p.kappa[1], r.g, P.sum(0), p.b)):
            dual = potential if ref == "entropy" else potential - 0.3 * mass.log()
            target = mass if math.isinf(k) else mass * (-dual / k).exp()
            error += float((sums - target).abs().sum())
        scale = max(float(P.sum()), 0.5 * float(p.a.sum() + p.b.sum()))
        assert float(r.residual) == pytest.approx(error / scale, rel=1e-9, abs=1e-15)


def test_two_runs_agree_bitwise_whatever_the_number_of_threads():
    p = random_problem("unbalanced", 200, 150, seed=1, dtype=torch.float32)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            D = p.D.clone().requires_grad_()
            r = wbm_ext.solve(D, p.a, p.b, epsilon=0.5, kappa=1.0)
            r.cost.backward()
            results.append((r._f.detach(), r._g.detach(), D.grad))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_large_offset_of_the_cost(offset):
    p = random_problem("balanced", 15, 12, seed=1)
    plain = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.3, tol=1e-10, max_iter=5000)
    moved = wbm_ext.solve(p.D + offset, p.a, p.b, epsilon=0.3, tol=1e-10, max_iter=5000)
    assert bool(moved.converged)
    torch.testing.assert_close(moved.plan, plain.plan, atol=1e-9, rtol=0)


@pytest.mark.native
@pytest.mark.parametrize(("shape", "strides"), [((2, 3), (2**31, 1)), ((2, 3, 3), (2**31, 3, 1))])
def test_offsets_beyond_two_to_the_31(shape, strides):
    memory = torch.empty(2**31 + 9)  # pages that are never touched cost nothing
    D = memory.as_strided(shape, strides)
    D.copy_(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    far = wbm_ext.solve(D, epsilon=0.3)
    near = wbm_ext.solve(D.clone(memory_format=torch.contiguous_format), epsilon=0.3)
    assert D.stride() == strides
    assert torch.equal(far.plan, near.plan)
