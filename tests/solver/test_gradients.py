"""Implicit, frozen and unrolled gradients, first and second order."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import problems
import wbm_ext
from problems import CASE_IDS, CASES, random_problem
from wbm_ext.solver.problem import MARGINAL, REFERENCES, SINKHORN, UNROLLED, Options, Problem, Upstream
from wbm_ext.solver.reference import iteration
from wbm_ext.solver.reference.gradient import implicit_gradient

TIGHT = {"tol": 0.0, "max_iter": 800}  # far beyond convergence, and smooth in the inputs for finite differences
OUTPUTS = ("sharp", "regularized", "f", "g", "plan")


def _masses(p: problems.Problem, s: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masses as functions that keep the totals equal where both marginals are hard."""
    return (1.3 * s.softmax(-1), 1.3 * t.softmax(-1)) if p.both_hard else (s.exp(), t.exp())


def _scalar(kind: str, ref: str, output: str, **options):
    p = random_problem(kind, 5, 4, seed=11)
    rng = torch.Generator().manual_seed(1)
    u, v, w = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((5,), (4,), (5, 4)))

    def function(D, s, t):
        a, b = _masses(p, s, t)
        r = wbm_ext.solve(D, a, b, epsilon=0.4, kappa=p.kappa, reference=ref, **{**TIGHT, **options})
        return {
            "sharp": r.cost,
            "regularized": r.regularized_cost,
            "f": (r.f * u).sum(),
            "g": (r.g * v).sum(),
            "plan": (r.plan * w).sum(),
        }[output]

    s = torch.randn(5, generator=rng, dtype=torch.float64).requires_grad_()
    t = torch.randn(4, generator=rng, dtype=torch.float64).requires_grad_()
    return function, (p.D.clone().requires_grad_(), s, t)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_implicit_gradient_by_finite_differences(kind, ref, output):
    function, inputs = _scalar(kind, ref, output)
    assert gradcheck(function, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_second_derivative_by_finite_differences(kind, ref, output):
    function, inputs = _scalar(kind, ref, output)
    assert gradgradcheck(function, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("output", ["sharp", "regularized", "plan"])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_unrolled_gradient_by_finite_differences(kind, ref, iterations, output):
    function, inputs = _scalar(kind, ref, output, grad="unrolled", tol=0.0, max_iter=iterations)
    assert gradcheck(function, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("iterations", [1, 2, 9])
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_unrolled_gradient_is_autograd_through_the_twin(kind, ref, iterations):
    p = random_problem(kind, 13, 8, batch=(3,), seed=4)
    epsilon = torch.tensor([0.3, 0.6, 1.0], dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for x in (p.D, p.a, p.b)]
    if p.both_hard:
        a, b = inputs[1] / inputs[1].sum(-1, keepdim=True), inputs[2] / inputs[2].sum(-1, keepdim=True)
    else:
        a, b = inputs[1:]
    kappa = torch.tensor([p.kappa] * 3, dtype=torch.float64)
    ours = wbm_ext.solve(
        inputs[0],
        a,
        b,
        epsilon=epsilon,
        kappa=p.kappa,
        reference=ref,
        tol=0,
        max_iter=iterations,
        grad="unrolled",
    )
    twin = iteration.solve(
        Problem(inputs[0], a, b, epsilon, kappa, None, REFERENCES[ref]),
        Options(SINKHORN, MARGINAL, UNROLLED, 0.0, iterations, None),
    )
    rng = torch.Generator().manual_seed(0)
    for x, y in (
        (ours.cost, twin[0]),
        (ours.regularized_cost, twin[1]),
        (ours.f, twin[2]),
        (ours.g, twin[3]),
    ):
        w = torch.randn(x.shape, generator=rng, dtype=torch.float64)
        got = torch.autograd.grad((x * w).sum(), inputs, retain_graph=True)
        expected = torch.autograd.grad((y * w).sum(), inputs, retain_graph=True)
        for d, e in zip(got, expected, strict=True):
            torch.testing.assert_close(d, e, atol=1e-11, rtol=1e-9)


def test_unrolled_tends_to_implicit():
    p = random_problem("balanced", 20, 15, seed=2)
    grads = {}
    for grad in ("implicit", "unrolled"):
        D = p.D.clone().requires_grad_()
        wbm_ext.sinkhorn(D, p.a, p.b, epsilon=0.3, grad=grad, tol=1e-12, max_iter=4000).backward()
        grads[grad] = D.grad
    torch.testing.assert_close(grads["unrolled"], grads["implicit"], atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("cost", ["sharp", "regularized"])
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_frozen_gradient_is_the_plan(kind, ref, cost):
    p = random_problem(kind, seed=3)
    D, a, b = (x.clone().requires_grad_() for x in (p.D, p.a, p.b))
    options = {"epsilon": 0.3, "kappa": p.kappa, "reference": ref}
    wbm_ext.sinkhorn(D, a, b, cost=cost, grad="frozen", **options).backward()
    torch.testing.assert_close(D.grad, wbm_ext.solve(p.D, p.a, p.b, **options).plan)
    assert not a.grad.any()
    assert not b.grad.any()


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_envelope_the_regularised_cost_has_the_plan_as_gradient(kind, ref):
    p = random_problem(kind, seed=6)
    D = p.D.clone().requires_grad_()
    result = wbm_ext.solve(D, p.a, p.b, epsilon=0.3, kappa=p.kappa, reference=ref, **TIGHT)
    result.regularized_cost.backward()
    torch.testing.assert_close(D.grad, result.plan.detach(), atol=1e-11, rtol=0)


def test_envelope_in_the_masses_is_the_centred_potential():
    p = random_problem("balanced", seed=6)
    a, b = p.a.clone().requires_grad_(), p.b.clone().requires_grad_()
    result = wbm_ext.solve(p.D, a, b, epsilon=0.3, **TIGHT)
    result.regularized_cost.backward()
    for mass, potential in ((a, result.f), (b, result.g)):
        centred = potential - (mass * potential).sum() / mass.sum()
        torch.testing.assert_close(mass.grad, centred.detach(), atol=1e-10, rtol=0)
        assert abs(float((mass.detach() * mass.grad).sum())) < 1e-12


@pytest.mark.parametrize("cost", ["sharp", "regularized"])
@pytest.mark.parametrize("grad", ["implicit", "unrolled"])
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_one_sided_derivative_at_a_zero_mass(kind, ref, grad, cost):
    """The derivative where a_2 = 0 and b_1 = 0 is the limit of difference quotients; 0 where that is infinite."""
    p = random_problem(kind, 6, 5, seed=8)
    p.a[2], p.b[1] = 0.0, 0.0
    if p.both_hard:
        p.b *= p.a.sum() / p.b.sum()
    options = {"epsilon": 0.5, "kappa": p.kappa, "reference": ref, "cost": cost, "grad": grad, **TIGHT}
    a, b = p.a.clone().requires_grad_(), p.b.clone().requires_grad_()
    value = wbm_ext.sinkhorn(p.D, a, b, **options)
    value.backward()
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()
    for name, mass, index, kappa in (("a", a, 2, p.kappa[0]), ("b", b, 1, p.kappa[1])):
        infinite = ref == "entropy" and (cost == "regularized" or not math.isinf(kappa))
        if infinite:
            shift = float((mass.detach() * mass.grad).sum() / mass.detach().sum()) if p.both_hard else 0.0
            assert shift == pytest.approx(0.0, abs=1e-10)
            continue
        # move mass from another index (hard), or simply add it (soft)
        quotients = []
        for step in (2e-6, 1e-6):
            moved = mass.detach().clone()
            moved[index] += step
            direction = mass.grad[index]
            if p.both_hard:
                moved[0] -= step
                direction = mass.grad[index] - mass.grad[0]
            pair = (moved, p.b) if name == "a" else (p.a, moved)
            quotients.append((float(wbm_ext.sinkhorn(p.D, *pair, **options)) - float(value.detach())) / step)
        extrapolated = 2 * quotients[1] - quotients[0]
        assert float(direction) == pytest.approx(extrapolated, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
@pytest.mark.parametrize("hostile", ["zero masses", "mask", "forbidden"])
def test_conjugate_gradients_agree_with_the_dense_system(kind, ref, hostile):
    p = random_problem(kind, 9, 8, batch=(4,), seed=9)
    mask = None
    if hostile == "zero masses":
        p.a[:, 3], p.b[:, 5] = 0.0, 0.0
        if p.both_hard:
            p.b *= (p.a.sum(-1) / p.b.sum(-1))[:, None]
    elif hostile == "mask":
        mask = torch.ones(9, 8, dtype=torch.bool)
        mask[2, 3:], mask[4:, 6] = False, False
    else:
        p.D[:, 1, 2:5] = torch.inf
    inputs = [x.clone().requires_grad_() for x in (p.D, p.a, p.b)]
    r = wbm_ext.solve(*inputs, epsilon=0.4, kappa=p.kappa, reference=ref, mask=mask, **TIGHT)
    rng = torch.Generator().manual_seed(2)
    up = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in (r.cost, r.regularized_cost, r.f, r.g)]
    outputs = (r.cost, r.regularized_cost, r.f, r.g)
    got = torch.autograd.grad(
        outputs, inputs, [torch.where(x.isfinite(), u, 0) for u, x in zip(up, outputs, strict=True)]
    )
    kappa = torch.tensor([p.kappa] * 4, dtype=torch.float64)
    full_mask = None if mask is None else mask.expand(4, 9, 8)
    problem = Problem(p.D, p.a, p.b, r.epsilon, kappa, full_mask, REFERENCES[ref])
    expected = implicit_gradient(Upstream(*up), problem, r._f.detach(), r._g.detach())[:3]
    for d, e in zip(got, expected, strict=True):
        torch.testing.assert_close(d, e, atol=1e-9, rtol=1e-7)


def test_forbidden_and_masked_pairs_get_no_gradient():
    p = random_problem("balanced", 6, 6, seed=1)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[0, 1] = False
    D = p.D.clone()
    D[2, 3], D[0, 1] = torch.inf, torch.nan
    D.requires_grad_()
    result = wbm_ext.solve(D, p.a, p.b, mask=mask, epsilon=0.3)
    (result.cost + result.plan.square().sum() + result.f.sum()).backward()
    assert torch.isfinite(D.grad).all()
    assert float(D.grad[0, 1]) == float(D.grad[2, 3]) == 0.0
    assert float(result.plan[0, 1].detach()) == float(result.plan[2, 3].detach()) == 0.0


def test_the_gradient_of_broadcast_inputs_is_summed():
    p = random_problem("unbalanced", 6, 5, batch=(3,), seed=1)
    D, a = p.D[0].clone().requires_grad_(), p.a[0].clone().requires_grad_()
    wbm_ext.sinkhorn(D, a, p.b, epsilon=0.3, kappa=1.0, **TIGHT).sum().backward()
    total = torch.zeros_like(D), torch.zeros_like(a)
    for k in range(3):
        D1, a1 = p.D[0].clone().requires_grad_(), p.a[0].clone().requires_grad_()
        wbm_ext.sinkhorn(D1, a1, p.b[k], epsilon=0.3, kappa=1.0, **TIGHT).backward()
        total[0].add_(D1.grad)
        total[1].add_(a1.grad)
    torch.testing.assert_close(D.grad, total[0])
    torch.testing.assert_close(a.grad, total[1])


def test_float32_gradient_is_near_the_float64_one():
    p = random_problem("balanced", 40, 30, seed=5)
    grads = []
    for dtype in (torch.float32, torch.float64):
        D = p.D.to(dtype).requires_grad_()
        wbm_ext.sinkhorn(D, p.a.to(dtype), p.b.to(dtype), epsilon=0.1, tol=1e-6, max_iter=5000).backward()
        grads.append(D.grad.double())
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("grad", ["frozen", "unrolled"])
def test_no_silent_second_derivative(grad):
    p = random_problem("balanced", seed=0)
    D = p.D.clone().requires_grad_()
    value = wbm_ext.sinkhorn(D, p.a, p.b, epsilon=0.5, grad=grad)
    (first,) = torch.autograd.grad(value, D, create_graph=True)
    with pytest.raises(NotImplementedError, match="implicit"):
        torch.autograd.grad(first.sum(), D)
