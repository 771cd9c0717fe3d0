"""RMPR, the outcome-calibrated cost and the ESCFR discrepancy: values, gradients, what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

import wbm_ext
from problems import generator
from wbm_ext import losses
from wbm_ext.errors import UnknownNameError

TIGHT = {"tol": 1e-12, "max_iter": 100_000}
REFERENCES = ("entropy", "product")


def _sets(n=6, m=5, k=3, seed=0):
    rng = generator(seed)
    x = torch.randn(n, k, generator=rng, dtype=torch.float64)
    y = torch.randn(m, k, generator=rng, dtype=torch.float64) + 0.5
    a, b = (torch.rand(size, generator=rng, dtype=torch.float64) + 0.2 for size in (n, m))
    return x, y, a / a.sum(), b / b.sum()


def _units(size=14, seed=1):
    """Representation, treatment, factual and counterfactual outcome of a batch."""
    rng = generator(seed)
    r = torch.randn(size, 3, generator=rng, dtype=torch.float64)
    y, other = (3 * torch.randn(size, generator=rng, dtype=torch.float64) for _ in range(2))
    return r, torch.rand(size, generator=rng) < 0.4, y, other


def _cost(r, t, y, other, gamma, scale):
    """D^γ pair by pair, as the formula stands."""
    rows, columns = t.nonzero()[:, 0].tolist(), (~t).nonzero()[:, 0].tolist()
    pairs = [
        scale * (r[i] - r[j]).square().sum() + gamma * ((other[i] - y[j]) ** 2 + (other[j] - y[i]) ** 2)
        for i in rows
        for j in columns
    ]
    return torch.stack(pairs).reshape(len(rows), len(columns))


@pytest.mark.parametrize(("ours", "theirs"), [("entropy", "entropy"), ("product", "kl")])
@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
def test_rmpr_against_pot(ours, theirs):
    ot = pytest.importorskip("ot", reason="the extra 'peers' is not installed")
    x, y, a, b = _sets()
    D = torch.cdist(x, y).square()
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a.numpy(), b.numpy(), D.numpy(), 0.4, (0.8, 2.0), reg_type=theirs, numItermax=100_000, stopThr=1e-15
    )
    value = losses.rmpr(x, y, a, b, epsilon=0.4, kappa=(0.8, 2.0), reference=ours, **TIGHT)
    assert float(value) == pytest.approx(float((torch.from_numpy(plan) * D).sum()), abs=1e-9)


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@pytest.mark.parametrize(("ours", "theirs"), [("entropy", "entropy"), ("product", "kl")])
def test_the_escfr_discrepancy_against_pot(ours, theirs):
    ot = pytest.importorskip("ot", reason="the extra 'peers' is not installed")
    r, t, y, other = _units()
    D = _cost(r, t, y, other, 0.05, 0.3)
    a, b = (torch.full((size,), 1 / size, dtype=torch.float64) for size in D.shape)
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a.numpy(), b.numpy(), D.numpy(), 1.0, 2.0, reg_type=theirs, numItermax=100_000, stopThr=1e-15
    )
    options = {"gamma": 0.05, "distance_scale": 0.3, "epsilon": 1.0, "kappa": 2.0, "reference": ours}
    value = losses.escfr_discrepancy(r, t, y, other, **options, **TIGHT)
    assert float(value) == pytest.approx(float((torch.from_numpy(plan) * D).sum()), abs=1e-9)


def test_the_printed_form_creates_mass_and_the_other_does_not():
    """At D = 0 with uniform masses: (n m)^(ε/(ε + 2κ)) against 1."""
    x, y = torch.zeros(8, 2, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)
    for reference, mass in (("entropy", 32 ** (0.5 / (0.5 + 1.4))), ("product", 1.0)):
        found = losses.relaxed_transport(x, y, epsilon=0.5, kappa=0.7, reference=reference, **TIGHT)
        assert float(found.transported_mass) == pytest.approx(mass, abs=1e-9)


@pytest.mark.parametrize("reference", REFERENCES)
def test_infinite_kappa_is_balanced_transport(reference):
    x, y, a, b = _sets()
    expected = wbm_ext.sinkhorn(torch.cdist(x, y).square(), a, b, epsilon=0.3, **TIGHT)
    value = losses.rmpr(x, y, a, b, epsilon=0.3, kappa=math.inf, reference=reference, **TIGHT)
    torch.testing.assert_close(value, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("reference", REFERENCES)
def test_one_pair_of_points(reference):
    """One point each side, unit masses: π = exp(-D/(ε + 2κ)) in both forms."""
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 1.5, dtype=torch.float64)
    value = losses.rmpr(x, y, epsilon=0.3, kappa=0.7, reference=reference, **TIGHT)
    assert float(value) == pytest.approx(2.25 * math.exp(-2.25 / 1.7), abs=1e-10)


def test_an_outlier_is_left_behind():
    """The relaxed plan carries next to nothing of a far unit; the balanced one carries all of it."""
    x, y, _, _ = _sets()
    x = torch.cat([x, torch.full((1, 3), 20.0, dtype=torch.float64)])
    options = {"epsilon": 0.1, "reference": "product", **TIGHT}
    relaxed = losses.relaxed_transport(x, y, kappa=2.0, **options)
    balanced = losses.relaxed_transport(x, y, kappa=math.inf, **options)
    assert float(relaxed.carried[0][-1]) < 1e-6
    assert float(balanced.carried[0][-1]) == pytest.approx(1 / 7, abs=1e-8)
    assert float(balanced.ess_treated) == pytest.approx(7, abs=1e-6)
    assert float(relaxed.ess_treated) < 6 + 1e-6
    assert float(balanced.value) > 50 * float(relaxed.value)


@pytest.mark.parametrize("reference", REFERENCES)
def test_relative_strengths_make_the_plan_free_of_the_scale(reference):
    x, y, a, b = _sets()
    options = {"epsilon": 0.1, "kappa": (0.5, 1.0), "relative": True, "reference": reference, **TIGHT}
    one, ten = (losses.relaxed_transport(s * x, s * y, a, b, **options) for s in (1.0, 10.0))
    torch.testing.assert_close(one.result.plan, ten.result.plan, atol=1e-9, rtol=0)
    mean = torch.cdist(x, y).square().mean()
    same = losses.rmpr(
        x, y, a, b, epsilon=float(0.1 * mean), kappa=(float(0.5 * mean), float(mean)), reference=reference, **TIGHT
    )
    torch.testing.assert_close(one.value, same, atol=1e-9, rtol=0)


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_gradient_of_rmpr(reference):
    x, y, a, b = _sets(4, 3, 2)

    def value(*tensors):
        return losses.rmpr(*tensors, epsilon=0.5, kappa=(0.8, 2.0), reference=reference, **TIGHT)

    assert torch.autograd.gradcheck(value, tuple(v.requires_grad_() for v in (x, y, a, b)), atol=1e-7)


def test_a_batch_of_sets_is_solved_problem_by_problem():
    sets = [_sets(seed=seed) for seed in range(3)]
    batch = [torch.stack(parts) for parts in zip(*sets, strict=True)]
    values = losses.rmpr(*batch, epsilon=0.3, kappa=1.0, **TIGHT)
    torch.testing.assert_close(values, torch.stack([losses.rmpr(*s, epsilon=0.3, kappa=1.0, **TIGHT) for s in sets]))


@pytest.mark.parametrize("columns", [None, 2])
def test_the_calibrated_cost_pair_by_pair(columns):
    """Y⁰ of i against Y⁰ of j, Y¹ of j against Y¹ of i; far outcomes lose no digits."""
    r, t, y, other = _units()
    if columns:
        y, other = torch.stack([y, y + 1], 1), torch.stack([other, 2 * other], 1)
    y, other = y + 1e3, other + 1e3
    D = losses.pfor_cost(r[t], r[~t], y[t], y[~t], other[t], other[~t], gamma=0.05, distance_scale=0.3)
    parts = [(y, other)] if columns is None else [(y[:, c], other[:, c]) for c in range(2)]
    outcomes = sum(_cost(r, t, *part, 0.05, 0.3) for part in parts) - (len(parts) - 1) * _cost(r, t, *parts[0], 0, 0.3)
    torch.testing.assert_close(D, outcomes, atol=1e-8, rtol=0)


def test_the_gradient_of_the_calibrated_cost():
    r, t, y, other = _units(8)
    r.requires_grad_()
    other.requires_grad_()

    def cost(r, other):
        return losses.pfor_cost(r[t], r[~t], y[t], y[~t], other[t], other[~t], gamma=0.2, distance_scale=0.7)

    assert torch.autograd.gradcheck(cost, (r, other))


def test_the_frozen_plan_gives_the_gradient_of_the_whole_objective():
    """Algorithm 3 detaches the plan and not the cost. That is d/dD of the regularised minimum (envelope theorem)."""
    r, t, y, other = _units()
    r.requires_grad_()
    other.requires_grad_()
    options = {"gamma": 0.05, "distance_scale": 0.3, "epsilon": 0.5, "kappa": 2.0, "reference": "product", **TIGHT}
    frozen = torch.autograd.grad(losses.escfr_discrepancy(r, t, y, other, **options), (r, other))
    whole = losses.escfr_transport(r, t, y, other, grad="implicit", **options).result.regularized_cost
    exact = torch.autograd.grad(whole, (r, other))
    torch.testing.assert_close(frozen, exact, atol=1e-9, rtol=0)
    sharp = torch.autograd.grad(losses.escfr_discrepancy(r, t, y, other, grad="implicit", **options), (r, other))
    assert not torch.allclose(sharp[0], frozen[0], atol=1e-3)


def test_the_gradient_of_the_escfr_discrepancy():
    r, t, y, other = _units(8)

    def value(r, other):
        return losses.escfr_discrepancy(
            r, t, y, other, gamma=0.1, distance_scale=0.5, epsilon=0.5, kappa=2.0, grad="implicit", **TIGHT
        )

    assert torch.autograd.gradcheck(value, (r.requires_grad_(), other.requires_grad_()), atol=1e-7)


def test_who_is_trained_by_the_escfr_discrepancy():
    """ψ through r; φ₀ at treated and φ₁ at untreated units through ŷ, unless outcomes are detached."""
    r, t, y, _ = _units()
    heads = [torch.nn.Linear(3, 1, dtype=torch.float64) for _ in range(2)]
    for detached in (False, True):
        representation = r.clone().requires_grad_()
        other = torch.where(t, heads[0](r)[:, 0], heads[1](r)[:, 0])
        options = {"gamma": 0.05, "detach_outcomes": detached}
        value = losses.escfr_discrepancy(representation, t, y, other, **options)
        grads = torch.autograd.grad(value, [representation, *(h.weight for h in heads)], allow_unused=True)
        assert grads[0].abs().sum() > 0
        assert all((g is None) == detached for g in grads[1:])
        if not detached:
            assert all(g.abs().sum() > 0 for g in grads[1:])


def test_without_gamma_and_with_hard_marginals_it_is_that_of_cfr_wass():
    r, t, _, _ = _units()
    value = losses.escfr_discrepancy(r, t, gamma=0.0, kappa=math.inf, distance_scale=1.0, epsilon=0.3, **TIGHT)
    expected = wbm_ext.sinkhorn(torch.cdist(r[t], r[~t]).square(), epsilon=0.3, **TIGHT)
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", [True, False])
def test_a_batch_of_one_group_gives_a_connected_zero(group):
    r, _, y, other = _units()
    r.requires_grad_()
    found = losses.escfr_transport(r, torch.full((14,), group), y, other)
    assert float(found.value.detach()) == 0.0
    assert found.result is None
    for name in ("ess_treated", "ess_other", "largest_mass", "transported_mass", "residual", "iterations"):
        assert float(getattr(found, name)) == 0.0
    found.value.backward()
    assert torch.equal(r.grad, torch.zeros_like(r))
    x = torch.zeros(0, 3, requires_grad=True)
    losses.rmpr(x, torch.ones(2, 3, requires_grad=True)).backward()
    assert x.grad.shape == (0, 3)


R, T, Y = torch.zeros(4, 2), torch.tensor([1, 1, 0, 0]), torch.zeros(4)
BAD = {
    "no outcome": (losses.escfr_discrepancy, (R, T), {}, ValueError, "outcome must be given for gamma = 0.0005"),
    "no counterfactual": (losses.escfr_discrepancy, (R, T, Y), {}, ValueError, "counterfactual must be given"),
    "gamma": (losses.escfr_discrepancy, (R, T, Y, Y), {"gamma": -1.0}, ValueError, r"gamma must be in \[0, inf\), got -1"),
    "scale": (losses.escfr_discrepancy, (R, T, Y, Y), {"distance_scale": 0.0}, ValueError, r"distance_scale must be in \(0, inf\)"),
    "treatment": (losses.escfr_discrepancy, (R, T + 1, Y, Y), {}, ValueError, r"treatment must be 0 or 1, got treatment\[0\] = 2"),
    "outcome": (losses.escfr_discrepancy, (R, T, Y[:3], Y), {}, ValueError, r"outcome must have shape \(4,\) or \(4, d\), got \(3,\)"),
    "two columns": (losses.pfor_cost, (R, R, Y, Y, Y, torch.zeros(4, 2)), {"gamma": 1.0}, ValueError, "same number of columns"),
    "points": (losses.rmpr, ([1.0], R), {}, TypeError, "x must be a torch.Tensor, got list"),
    "vector": (losses.rmpr, (Y, Y), {}, ValueError, r"x must have shape \(..., points, k\), got \(4,\)"),
    "coordinates": (losses.rmpr, (R, R[:, :1]), {}, ValueError, r"y must have the 2 coordinates of x"),
    "types": (losses.rmpr, (R, R.double()), {}, TypeError, "y must have the type of x, torch.float32, got torch.float64"),
    "masses": (losses.rmpr, (R, R, Y[:2]), {}, ValueError, r"a must have shape \(..., 4\), got \(2,\)"),
    "reference": (losses.rmpr, (R, R), {"reference": "produkt"}, UnknownNameError, "did you mean 'product'"),
    "kappa": (losses.rmpr, (R, R + 1), {"kappa": 0.0}, ValueError, "kappa must be positive"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rejected_with_a_reason(name):
    function, arguments, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        function(*arguments, **options)
