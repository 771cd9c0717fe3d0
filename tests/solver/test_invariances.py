"""Properties of every solution, on problems that hypothesis draws."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wbm_ext

KAPPA = st.one_of(st.just(math.inf), st.floats(0.05, 50))
OPTIONS = {"tol": 1e-11, "max_iter": 30_000}


@st.composite
def problems(draw):
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    D = torch.rand(n, m, generator=rng, dtype=torch.float64) ** draw(st.sampled_from([1, 3]))
    a = torch.rand(n, generator=rng, dtype=torch.float64) + 0.05
    b = torch.rand(m, generator=rng, dtype=torch.float64) + 0.05
    b = b * a.sum() / b.sum()
    options = {
        "epsilon": draw(st.floats(0.05, 5)),
        "kappa": (draw(KAPPA), draw(KAPPA)),
        "reference": draw(st.sampled_from(["entropy", "product"])),
    }
    return D, a, b, options


def _solve(D, a, b, options, **changed):
    return wbm_ext.solve(D, a, b, **{**OPTIONS, **options, **changed})


@settings(max_examples=60, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_permuting_points_permutes_the_plan(problem, random):
    D, a, b, options = problem
    rows, columns = list(range(len(a))), list(range(len(b)))
    random.shuffle(rows)
    random.shuffle(columns)
    plan = _solve(D, a, b, options).plan
    permuted = _solve(D[rows][:, columns], a[rows], b[columns], options).plan
    torch.testing.assert_close(permuted, plan[rows][:, columns], atol=1e-9, rtol=0)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_transposing_transposes_the_plan(problem):
    D, a, b, options = problem
    plan = _solve(D, a, b, options).plan
    other = _solve(D.T, b, a, options, kappa=options["kappa"][::-1]).plan
    torch.testing.assert_close(other, plan.T, atol=1e-8, rtol=0)


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(-3, 3))
def test_a_constant_adds_to_the_balanced_value(problem, c):
    D, a, b, options = problem
    options = {**options, "kappa": math.inf}
    before, after = _solve(D, a, b, options), _solve(D + c, a, b, options)
    torch.testing.assert_close(after.plan, before.plan, atol=1e-9, rtol=0)
    torch.testing.assert_close(after.cost, before.cost + c * a.sum(), atol=1e-8, rtol=0)


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0.01, 100))
def test_scaling_all_strengths_scales_the_costs(problem, s):
    D, a, b, options = problem
    k1, k2 = options["kappa"]
    scaled = {**options, "epsilon": options["epsilon"] * s, "kappa": (k1 * s, k2 * s)}
    before, after = _solve(D, a, b, options), _solve(D * s, a, b, scaled)
    torch.testing.assert_close(after.plan, before.plan, atol=1e-9, rtol=0)
    torch.testing.assert_close(after.regularized_cost, before.regularized_cost * s, atol=1e-8 * s, rtol=1e-8)


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0.1, 10))
def test_scaling_the_masses_scales_the_balanced_plan(problem, s):
    D, a, b, options = problem
    options = {**options, "kappa": math.inf}
    plan = _solve(D, a, b, options).plan
    torch.testing.assert_close(_solve(D, a * s, b * s, options).plan, plan * s, atol=1e-8, rtol=0)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_hard_marginals_are_met_and_the_objective_is_at_most_the_product_plans(problem):
    D, a, b, options = problem
    result = _solve(D, a, b, options)
    assert bool(result.converged), result.status_text()
    if math.isinf(options["kappa"][0]):
        torch.testing.assert_close(result.plan.sum(1), a, atol=1e-9, rtol=0)
    if math.isinf(options["kappa"][1]):
        torch.testing.assert_close(result.plan.sum(0), b, atol=1e-9, rtol=0)
    product = a[:, None] * b[None, :] / b.sum()  # marginals a and b: no KL term
    objective = float((D * product).sum())
    if options["reference"] == "entropy":
        objective += options["epsilon"] * float((product * (product.log() - 1)).sum())
    else:
        pair = a[:, None] * b[None, :]
        objective += options["epsilon"] * float((product * (product / pair).log() - product + pair).sum())
    assert float(result.regularized_cost) <= objective + 1e-8


@settings(max_examples=40, deadline=None)
@given(problems())
def test_the_translation_step_changes_the_road_not_the_goal(problem):
    D, a, b, options = problem
    fast, plain = _solve(D, a, b, options), _solve(D, a, b, options, method="sinkhorn", max_iter=200_000)
    torch.testing.assert_close(fast.plan, plain.plan, atol=1e-8, rtol=0)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_duplicating_a_point_and_halving_its_mass_changes_nothing(problem):
    D, a, b, options = problem
    if options["reference"] == "entropy":  # its entropy has no reference measure: only the product one is free of it
        options = {**options, "reference": "product"}
    before = _solve(D, a, b, options)
    half = torch.cat([a[:1] / 2, a[:1] / 2, a[1:]])
    after = _solve(torch.cat([D[:1], D]), half, b, options)
    torch.testing.assert_close(after.cost, before.cost, atol=1e-8, rtol=0)
    torch.testing.assert_close(after.regularized_cost, before.regularized_cost, atol=1e-8, rtol=0)
