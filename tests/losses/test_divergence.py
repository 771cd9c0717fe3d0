"""The debiased divergence: one batched solve, what it vanishes on, its gradients."""

from __future__ import annotations

import math

import pytest
import torch

import wbm_ext
from problems import generator
from wbm_ext import losses
from wbm_ext._native import BACKEND

TIGHT = {"tol": 1e-12, "max_iter": 100_000}


def _sets(n=7, m=4, k=2, seed=0, total=1.0):
    rng = generator(seed)
    x = torch.randn(n, k, generator=rng, dtype=torch.float64)
    y = torch.randn(m, k, generator=rng, dtype=torch.float64) + 0.5
    a, b = (torch.rand(size, generator=rng, dtype=torch.float64) + 0.2 for size in (n, m))
    return x, y, a / a.sum(), total * b / b.sum()


@pytest.mark.parametrize("sizes", [(7, 4), (4, 7), (5, 5), (1, 3)])
@pytest.mark.parametrize("cost", ["regularized", "sharp"])
@pytest.mark.parametrize("kappa", [math.inf, 0.8])
def test_it_is_three_problems(sizes, cost, kappa):
    """The padded batch gives what three separate solves give, with the one ε of the first."""
    x, y, a, b = _sets(*sizes)
    options = {"kappa": kappa, "reference": "product", "cost": cost, **TIGHT}
    epsilon = 0.05 * float(torch.cdist(x, y).square().mean())
    parts = [
        wbm_ext.sinkhorn(torch.cdist(p, q).square(), u, v, epsilon=epsilon, **options)
        for p, q, u, v in ((x, y, a, b), (x, x, a, a), (y, y, b, b))
    ]
    value = losses.sinkhorn_divergence(x, y, a, b, kappa=kappa, cost=cost, **TIGHT)
    torch.testing.assert_close(value, parts[0] - (parts[1] + parts[2]) / 2, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("cost", "reg_type"), [("sharp", None), ("regularized", "KL")])
def test_against_pot(cost, reg_type):
    """POT's empirical divergence debiases ⟨D, P⟩; the regularised value comes from its general solver."""
    ot = pytest.importorskip("ot", reason="the extra 'peers' is not installed")
    x, y, a, b = _sets()
    if cost == "sharp":
        expected = ot.bregman.empirical_sinkhorn_divergence(
            x.numpy(), y.numpy(), 0.5, a=a.numpy(), b=b.numpy(), numIterMax=20_000, stopThr=1e-11
        )
    else:
        problems = ((x, y, a, b), (x, x, a, a), (y, y, b, b))
        values = [
            ot.solve(torch.cdist(p, q).square(), u, v, reg=0.5, reg_type=reg_type, max_iter=100_000, tol=1e-13).value
            for p, q, u, v in problems
        ]
        expected = values[0] - (values[1] + values[2]) / 2
    value = losses.sinkhorn_divergence(x, y, a, b, epsilon=0.5, cost=cost, **TIGHT)
    assert float(value) == pytest.approx(float(expected), abs=1e-8)


@pytest.mark.parametrize("kappa", [math.inf, 1.5])
@pytest.mark.parametrize("epsilon", [2.0, 0.2])
def test_it_vanishes_on_equal_measures_and_nowhere_else(epsilon, kappa):
    """Points in another order, one of them split in two, are the same measure."""
    x, y, a, b = _sets()
    options = {"epsilon": epsilon, "kappa": kappa, **TIGHT}
    order = torch.randperm(7, generator=generator(1))
    same = torch.cat([x[order], x[:1]])
    masses = a[order] * torch.where(order == 0, 0.3, 1.0)
    masses = torch.cat([masses, 0.7 * a[:1]])
    assert float(losses.sinkhorn_divergence(x, same, a, masses, **options)) == pytest.approx(0, abs=1e-9)
    assert float(losses.sinkhorn_divergence(x, x, a, a.flip(0), **options)) > 1e-4
    assert float(losses.sinkhorn_divergence(x, y, a, b, **options)) > 1e-2


@pytest.mark.parametrize("total", [1.0, 3.0])
def test_relaxed_with_unequal_masses(total):
    """One point each side, at one place: V is the minimum over the mass p of ε KL(p | a b) + κ KL(p | a) + κ KL(p | b)."""
    point, kappa, epsilon = torch.zeros(1, 1, dtype=torch.float64), 0.8, 0.5
    a, b = torch.ones(1, dtype=torch.float64), torch.full((1,), total, dtype=torch.float64)

    def divergence(p, q):
        return p * math.log(p / q) - p + q

    def minimum(u, v):
        p = math.exp((epsilon * math.log(u * v) + kappa * math.log(u) + kappa * math.log(v)) / (epsilon + 2 * kappa))
        return epsilon * divergence(p, u * v) + kappa * divergence(p, u) + kappa * divergence(p, v)

    expected = minimum(1, total) - minimum(1, 1) / 2 - minimum(total, total) / 2 + epsilon * (1 - total) ** 2 / 2
    value = losses.sinkhorn_divergence(point, point, a, b, epsilon=epsilon, kappa=kappa, **TIGHT)
    assert float(value) == pytest.approx(expected, abs=1e-9)
    assert (float(value) > 0.01) == (total != 1.0)


@pytest.mark.parametrize("cost", ["regularized", "sharp"])
@pytest.mark.parametrize("kappa", [math.inf, 0.8])
@pytest.mark.parametrize("sizes", [(4, 3), (2, 4)])
def test_the_gradient_in_points_and_masses(cost, kappa, sizes):
    x, y, a, b = _sets(*sizes)

    def value(x, y, u, v):
        # masses by softmax: with hard marginals only changes that keep the totals have a derivative
        return losses.sinkhorn_divergence(
            x, y, u.softmax(0), v.softmax(0), epsilon=0.5, kappa=kappa, cost=cost, **TIGHT
        )

    tensors = tuple(v.requires_grad_() for v in (x, y, a.log(), b.log()))
    assert torch.autograd.gradcheck(value, tensors, atol=1e-7)


def test_the_frozen_plan_is_exact_for_the_regularised_value():
    """Envelope theorem: dV/dD = P; what is frozen is the gradient in the masses."""
    x, y, a, b = _sets()
    x.requires_grad_()
    grads = [
        torch.autograd.grad(losses.sinkhorn_divergence(x, y, a, b, epsilon=0.3, grad=g, **TIGHT), x)[0]
        for g in ("implicit", "frozen")
    ]
    torch.testing.assert_close(*grads, atol=1e-9, rtol=0)


def test_a_set_at_its_target_stays_there():
    """The divergence has no gradient at the target; the entropic objective has one, and descent shrinks the cloud."""
    target = torch.randn(12, 2, generator=generator(2), dtype=torch.float64)
    spreads = {}
    for name, loss, grad in (("debiased", losses.sinkhorn_divergence, "implicit"), ("entropic", losses.rmpr, "frozen")):
        x = target.clone().requires_grad_()
        optimizer = torch.optim.SGD([x], lr=1.0)
        for _ in range(20):
            optimizer.zero_grad()
            loss(x, target, epsilon=1.0, kappa=math.inf, grad=grad).backward()
            optimizer.step()
        spreads[name] = float(x.detach().var(0).sum() / target.var(0).sum())
    assert spreads["debiased"] == pytest.approx(1.0, abs=1e-4)
    assert spreads["entropic"] < 0.8


def test_batches_and_points_far_from_the_origin():
    sets = [_sets(seed=seed) for seed in range(3)]
    x, y, a, b = (torch.stack(parts) for parts in zip(*sets, strict=True))
    values = losses.sinkhorn_divergence(x, y, a, b, epsilon=0.3, **TIGHT)
    each = torch.stack([losses.sinkhorn_divergence(*s, epsilon=0.3, **TIGHT) for s in sets])
    torch.testing.assert_close(values, each, atol=1e-10, rtol=0)
    far = losses.sinkhorn_divergence((x + 1e3).float(), (y + 1e3).float(), a.float(), b.float(), epsilon=0.3)
    torch.testing.assert_close(far.double(), each, atol=2e-3, rtol=0)
    shared = losses.sinkhorn_divergence(x, y[0], epsilon=0.3, **TIGHT)
    each = torch.stack([losses.sinkhorn_divergence(s, y[0], epsilon=0.3, **TIGHT) for s in x])
    torch.testing.assert_close(shared, each, atol=1e-10, rtol=0)


def test_diagnostics_of_the_three_problems():
    found = losses.debiased_transport(*_sets())
    assert found.transported_mass.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)
    assert bool(found.result.converged.all())
    assert found.ess_treated.shape == (3,)


@pytest.mark.native
@pytest.mark.skipif(BACKEND != "native", reason="the plain-torch twin has the road of the matrix alone")
@pytest.mark.parametrize("cost", ["regularized", "sharp"])
def test_large_sets_need_no_matrix_and_have_its_value_and_gradient(cost, monkeypatch):
    x, y = _sets(120, 90)[:2]
    a = torch.rand(120, generator=generator(1), dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, y, a)]
    options = {"epsilon": 0.05, "kappa": 1.0, "cost": cost, "tol": 1e-9}
    dense = losses.sinkhorn_divergence(x, y, a, **options)
    expected = torch.autograd.grad(dense, inputs)
    monkeypatch.setattr("wbm_ext.losses.divergence.MATRIX_ENTRIES", 0)
    found = losses.sinkhorn_divergence(x, y, a, **options)
    assert float(found.detach()) == pytest.approx(float(dense.detach()), abs=1e-8)
    for own, other in zip(torch.autograd.grad(found, inputs), expected, strict=True):
        torch.testing.assert_close(own, other, atol=2e-6 * float(other.abs().max()), rtol=0)
