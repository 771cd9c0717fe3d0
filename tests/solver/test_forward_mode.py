"""Forward mode and gradients of many outputs at once, against finite differences and the backward."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.functional import hessian as hessian_by_backward
from torch.autograd.functional import jacobian
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

import wbm_ext
from problems import CASE_IDS, CASES, generator, random_problem

TIGHT = {"epsilon": 0.4, "tol": 1e-13, "max_iter": 5000}
STEP = 1e-5


def outputs(D: Tensor, a: Tensor, b: Tensor, **options) -> Tensor:
    r = wbm_ext.solve(D, a, b, **{**TIGHT, **options})
    return torch.cat([r.cost[None], r.regularized_cost[None], r.f, r.g, r.plan.flatten()])


def inputs(kind: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], dict]:
    """A problem, and directions that leave the totals equal where both marginals are hard."""
    p = random_problem(kind, 5, 4, seed=3)
    rng = generator(7)
    along = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in (p.D, p.a, p.b)]
    if p.both_hard:
        for direction, mass in zip(along[1:], (p.a, p.b), strict=True):
            direction -= mass * direction.sum() / mass.sum()
    return (p.D, p.a, p.b), tuple(along), {"kappa": p.kappa}


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_forward_mode_by_finite_differences(kind, ref):
    data, along, options = inputs(kind)
    options["reference"] = ref

    def function(*x: Tensor) -> Tensor:
        return outputs(*x, **options)

    ahead, behind = (function(*(x + s * v for x, v in zip(data, along, strict=True))) for s in (STEP, -STEP))
    expected = (ahead - behind) / (2 * STEP)
    torch.testing.assert_close(jvp(function, data, along)[1], expected, atol=1e-7, rtol=1e-6)
    with forward_ad.dual_level():
        dual = function(*map(forward_ad.make_dual, data, along))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("ref", ["entropy", "product"])
def test_forward_mode_in_strengths_by_finite_differences(ref):
    data, _, _ = inputs("unbalanced")

    def function(epsilon: Tensor, kappa: Tensor) -> Tensor:
        return outputs(*data, epsilon=epsilon, kappa=(kappa, 2 * kappa), reference=ref)

    at = (torch.tensor(0.4, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    along = (torch.tensor(1.0, dtype=torch.float64), torch.tensor(-0.7, dtype=torch.float64))
    ahead, behind = (function(*(x + s * v for x, v in zip(at, along, strict=True))) for s in (STEP, -STEP))
    torch.testing.assert_close(jvp(function, at, along)[1], (ahead - behind) / (2 * STEP), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("kind", ["balanced", "unbalanced"])
def test_jacobians_and_hessians_of_every_way(kind):
    (D, a, b), _, options = inputs(kind)

    def potential(D: Tensor) -> Tensor:
        return wbm_ext.solve(D, a, b, **TIGHT, **options).f

    def value(D: Tensor) -> Tensor:
        return wbm_ext.sinkhorn(D, a, b, **TIGHT, **options)

    expected = jacobian(potential, D)
    torch.testing.assert_close(jacobian(potential, D, vectorize=True), expected)
    torch.testing.assert_close(jacfwd(potential)(D), expected)
    leaf = D.clone().requires_grad_()
    eye = torch.eye(5, dtype=torch.float64)
    (batched,) = torch.autograd.grad(potential(leaf), leaf, eye, is_grads_batched=True)
    torch.testing.assert_close(batched, expected)

    expected = hessian_by_backward(value, D)
    for way in (hessian, lambda f: jacrev(jacfwd(f)), lambda f: jacrev(jacrev(f))):
        torch.testing.assert_close(way(value)(D), expected)
    for strategy in ("reverse-mode", "forward-mode"):
        found = hessian_by_backward(value, D, vectorize=True, outer_jacobian_strategy=strategy)
        torch.testing.assert_close(found, expected)


def test_forward_mode_of_a_batch_and_under_vmap():
    D = torch.rand(3, 5, 4, generator=generator(1), dtype=torch.float64)

    def value(D: Tensor) -> Tensor:
        return wbm_ext.sinkhorn(D, **TIGHT)

    expected = jacobian(value, D)
    torch.testing.assert_close(jacfwd(value)(D), expected)
    torch.testing.assert_close(jacfwd(vmap(value))(D), expected)
    torch.testing.assert_close(vmap(hessian(value))(D), torch.stack([hessian_by_backward(value, x) for x in D]))


def test_forward_mode_of_a_frozen_plan_and_what_it_does_not_do():
    D = torch.rand(5, 4, generator=generator(1), dtype=torch.float64)
    ones = torch.ones_like(D)
    _, along = jvp(lambda D: wbm_ext.sinkhorn(D, epsilon=0.4, grad="frozen"), (D,), (ones,))
    assert float(along) == pytest.approx(1.0)
    with pytest.raises(NotImplementedError, match="forward mode is not available for grad='unrolled'"):
        jvp(lambda D: wbm_ext.sinkhorn(D, epsilon=0.4, grad="unrolled"), (D,), (ones,))
    with pytest.raises(NotImplementedError, match=r"jacfwd\(jacrev"):
        jacfwd(jacfwd(wbm_ext.sinkhorn))(D)


def test_losses_have_a_forward_mode():
    rng = generator(5)
    x, y = torch.rand(6, 2, generator=rng, dtype=torch.float64), torch.rand(5, 2, generator=rng, dtype=torch.float64)
    q = torch.rand(6, generator=rng, dtype=torch.float64) * 0.6 + 0.2
    treated = torch.tensor([1, 0, 1, 0, 0, 1], dtype=torch.bool)
    tight = {"tol": 1e-13, "max_iter": 5000}
    for function, at in (
        (lambda x: wbm_ext.losses.sinkhorn_divergence(x, y, epsilon=0.3, **tight), x),
        (lambda x: wbm_ext.losses.rmpr(x, y, kappa=1.0, epsilon=0.3, **tight), x),
        (lambda q: wbm_ext.losses.wbm(q, treated, x, epsilon=0.3, **tight), q),
    ):
        along = torch.randn(at.shape, generator=rng, dtype=torch.float64)
        expected = (function(at + STEP * along) - function(at - STEP * along)) / (2 * STEP)
        torch.testing.assert_close(jvp(function, (at,), (along,))[1], expected, atol=1e-8, rtol=1e-6)
        assert math.isfinite(float(expected))


def test_gradients_of_losses_come_batched():
    rng = generator(5)
    x, y = torch.rand(6, 2, generator=rng, dtype=torch.float64), torch.rand(5, 2, generator=rng, dtype=torch.float64)
    q = (torch.rand(6, generator=rng, dtype=torch.float64) * 0.6 + 0.2).requires_grad_()
    treated = torch.tensor([1, 0, 1, 0, 0, 1], dtype=torch.bool)
    leaf = x.clone().requires_grad_()
    for value, at in (
        (wbm_ext.losses.wbm(q, treated, x, epsilon=0.3), q),
        (wbm_ext.losses.squared_distances(leaf, y).sum(), leaf),
        (wbm_ext.losses.rmpr(leaf, y, epsilon=0.3), leaf),
    ):
        (one,) = torch.autograd.grad(value, at, retain_graph=True)
        ups = torch.tensor([1.0, -2.0], dtype=torch.float64)
        (many,) = torch.autograd.grad(value, at, ups, is_grads_batched=True)
        torch.testing.assert_close(many, torch.stack([one, -2 * one]))
