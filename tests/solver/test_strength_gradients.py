"""Gradients in epsilon and kappa, against finite differences in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import wbm_ext
from problems import CASE_IDS, CASES, random_problem

TIGHT = {"tol": 0.0, "max_iter": 800}  # far beyond convergence, and smooth in the inputs for finite differences
OUTPUTS = ("cost", "regularized_cost", "f", "g", "plan", "all")


def _function(kind: str, ref: str, output: str, with_data: bool = False):
    """A scalar of ε and the finite κ (and of D, a, b where asked) of a batch of two problems."""
    p = random_problem(kind, 5, 4, batch=(2,), seed=11)
    finite = [not math.isinf(k) for k in p.kappa]
    rng = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(2, *shape, generator=rng, dtype=torch.float64)
        for name, shape in (("cost", ()), ("regularized_cost", ()), ("f", (5,)), ("g", (4,)), ("plan", (5, 4)))
    }

    def function(epsilon, *rest):
        kappas, data = list(rest[: sum(finite)]), rest[sum(finite) :]
        D, a, b = data or (p.D, p.a, p.b)
        if data and p.both_hard:
            a, b = 1.3 * a.softmax(-1), 1.3 * b.softmax(-1)
        kappa = tuple(kappas.pop(0) if soft else math.inf for soft in finite)
        r = wbm_ext.solve(D, a, b, epsilon=epsilon, kappa=kappa, reference=ref, **TIGHT)
        names = weights if output == "all" else (output,)
        return sum((getattr(r, name) * weights[name]).sum() for name in names)

    strengths = [torch.tensor([0.4, 0.7], dtype=torch.float64)]
    strengths += [torch.tensor([k, 1.5 * k], dtype=torch.float64) for k in p.kappa if not math.isinf(k)]
    inputs = [x.requires_grad_() for x in (*strengths, *((p.D, p.a, p.b) if with_data else ()))]
    return function, tuple(inputs)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_gradient_in_epsilon_and_kappa_by_finite_differences(kind, ref, output):
    function, inputs = _function(kind, ref, output)
    assert gradcheck(function, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_second_derivative_in_everything_by_finite_differences(kind, ref):
    function, inputs = _function(kind, ref, "all", with_data=True)
    assert gradgradcheck(function, inputs, eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ref", ["entropy", "product"])
@pytest.mark.parametrize("hard_case", ["mask", "forbidden", "zero masses", "a row without a partner"])
def test_gradient_where_some_pairs_carry_nothing(hard_case, ref):
    p = random_problem("unbalanced", 6, 5, seed=3)
    mask = None
    if hard_case == "mask":
        mask = torch.ones(6, 5, dtype=torch.bool)
        mask[1, 2:], p.D[1, 2] = False, torch.nan
    elif hard_case == "forbidden":
        p.D[2, :3] = torch.inf
    elif hard_case == "zero masses":
        p.a[2], p.b[1] = 0.0, 0.0
    else:
        p.D[2] = torch.inf

    def function(epsilon, rows, columns):
        options = {"epsilon": epsilon, "kappa": (rows, columns), "reference": ref, "mask": mask, **TIGHT}
        r = wbm_ext.solve(p.D, p.a, p.b, **options)
        return r.cost, r.regularized_cost, r.plan

    inputs = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.4, 2.0, 0.5))
    assert gradcheck(function, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)


def test_the_gradient_arrives_in_the_shape_and_type_of_the_argument():
    p = random_problem("unbalanced", 6, 5, batch=(2, 3), seed=1, dtype=torch.float32)
    epsilon = torch.full((3,), 0.5, requires_grad=True)
    kappa = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=epsilon, kappa=kappa).sum().backward()
    assert epsilon.grad.shape == (3,)
    assert epsilon.grad.dtype == torch.float32
    assert kappa.grad.shape == ()
    assert bool((epsilon.grad != 0).all())
    assert float(kappa.grad) != 0


def test_a_hard_marginal_has_no_gradient_in_kappa():
    p = random_problem("balanced", seed=1)
    kappa = torch.tensor(math.inf, dtype=torch.float64, requires_grad=True)
    wbm_ext.sinkhorn(p.D, p.a, p.b, epsilon=0.5, kappa=kappa).backward()
    assert float(kappa.grad) == 0.0


def test_the_sharp_cost_of_a_balanced_problem_rises_with_epsilon():
    """d<D,P>/dε ≥ 0 with equality in the limit: more entropy is bought with cost."""
    p = random_problem("balanced", seed=1)
    epsilon = torch.tensor([0.2, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    cost = wbm_ext.sinkhorn(p.D.expand(3, -1, -1), p.a, p.b, epsilon=epsilon, tol=1e-10, max_iter=20_000)
    cost.sum().backward()
    assert bool((epsilon.grad > 0).all())
    assert bool((cost[1:] > cost[:-1]).all())
