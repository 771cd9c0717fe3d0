"""The balancing metric: its masses, its value, its gradient, what it refuses."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import wbm_ext
from wbm_ext import losses
from wbm_ext.errors import BalanceWarning, UnknownNameError


def _batch(seed: int = 0, size: int = 30, k: int = 3):
    rng = torch.Generator().manual_seed(seed)
    phi = torch.randn(size, k, generator=rng, dtype=torch.float64)
    q = torch.sigmoid(phi[:, 0])
    treated = torch.rand(size, generator=rng, dtype=torch.float64) < q
    return q, treated, phi


@pytest.mark.parametrize("masses", ["self-normalized", "softmax"])
def test_the_value_is_the_definition(masses):
    q, treated, phi = _batch()
    inverse_t, inverse_u = 1 / q[treated], 1 / (1 - q[~treated])
    if masses == "softmax":
        a, b = inverse_t.softmax(0), inverse_u.softmax(0)
    else:
        a, b = inverse_t / inverse_t.sum(), inverse_u / inverse_u.sum()
    D = torch.cdist(phi[treated], phi[~treated]).square()
    expected = wbm_ext.sinkhorn(D, a, b, epsilon=0.3)
    got = losses.wbm(q, treated, phi, masses=masses, epsilon=0.3, clip=0.0)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)


def test_against_all_compares_with_the_whole_batch_at_uniform_mass():
    q, treated, phi = _batch()
    a = (1 / q[treated]) / (1 / q[treated]).sum()
    D = torch.cdist(phi[treated], phi).square()
    expected = wbm_ext.sinkhorn(D, a, epsilon=0.3)
    got = losses.balance(q, treated, phi, against="all", epsilon=0.3, clip=0.0)
    torch.testing.assert_close(got.value, expected, atol=1e-9, rtol=0)
    assert float(got.ess_other) == pytest.approx(30)


def test_constant_propensities_give_uniform_masses():
    _, treated, phi = _batch()
    uniform = wbm_ext.sinkhorn(torch.cdist(phi[treated], phi[~treated]).square(), epsilon=0.3)
    for masses in losses.options.MASSES:
        got = losses.wbm(torch.full((30,), 0.3, dtype=torch.float64), treated, phi, masses=masses, epsilon=0.3)
        torch.testing.assert_close(got, uniform, atol=1e-9, rtol=0)


def test_the_treated_side_is_free_of_the_scale_of_1_over_q():
    q, treated, phi = _batch()
    values = [losses.wbm(q * s, treated, phi, against="all", epsilon=0.3, clip=0.0) for s in (1.0, 0.5)]
    torch.testing.assert_close(*values, atol=1e-9, rtol=0)


@pytest.mark.parametrize("masses", ["self-normalized", "softmax"])
@pytest.mark.parametrize("against", ["untreated", "all"])
def test_the_gradient_in_the_logits(masses, against):
    _, treated, phi = _batch(size=10)
    logits = torch.randn(10, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()

    def value(z):
        return losses.wbm(
            z.sigmoid(), treated, phi, masses=masses, against=against, epsilon=0.5, tol=1e-12, max_iter=9999
        )

    assert torch.autograd.gradcheck(value, (logits,), atol=1e-7)


def test_the_gradient_in_the_representation():
    q, treated, phi = _batch(size=8, k=2)

    def value(q, phi):
        return losses.wbm(q, treated, phi, epsilon=0.5, detach_representation=False, tol=1e-12, max_iter=9999)

    assert torch.autograd.gradcheck(value, (q.clone().requires_grad_(), phi.requires_grad_()), atol=1e-7)


def test_training_on_it_balances_two_shifted_clouds():
    """Descent on WBM with a logistic propensity lowers the discrepancy that uniform weights leave."""
    rng = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(150, 2, generator=rng) + 0.7, torch.randn(150, 2, generator=rng) - 0.7])
    treated = torch.arange(300) < 150
    model = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        diagnosed = losses.balance(model(x)[:, 0].sigmoid(), treated, x, scale_cost=True)
        optimizer.zero_grad()
        diagnosed.value.backward()
        optimizer.step()
        values.append(float(diagnosed.value.detach()))
    assert values[-1] < 0.6 * values[0]
    assert float(diagnosed.ess_treated) > 15


def test_the_representation_is_detached_unless_asked():
    q, treated, phi = _batch()
    phi.requires_grad_()
    q.requires_grad_()
    losses.wbm(q, treated, phi).backward()
    assert phi.grad is None
    assert q.grad.abs().sum() > 0
    losses.wbm(q, treated, phi, detach_representation=False).backward()
    assert phi.grad.abs().sum() > 0


def test_scaled_cost_is_free_of_the_scale_of_the_representation():
    q, treated, phi = _batch()
    values = [losses.wbm(q, treated, phi * s, scale_cost=True) for s in (1.0, 100.0)]
    torch.testing.assert_close(*values, atol=1e-9, rtol=0)
    unscaled = [losses.wbm(q, treated, phi * s) for s in (1.0, 100.0)]
    torch.testing.assert_close(unscaled[1], unscaled[0] * 1e4, rtol=1e-9, atol=0)


def test_clipping_bounds_the_weights_and_is_counted():
    q, treated, phi = _batch()
    q[0], q[1] = 1e-9, 1.0
    diagnosed = losses.balance(q, treated, phi, clip=0.05)
    assert float(diagnosed.clipped) >= 2 / 30
    assert math.isfinite(float(diagnosed.value))
    assert float(diagnosed.largest_mass) <= 20 / 20 / 2


@pytest.mark.parametrize("side", [True, False])
def test_an_empty_group_gives_a_connected_zero(side):
    q = torch.full((5,), 0.4, requires_grad=True)
    diagnosed = losses.balance(q, torch.full((5,), side), torch.randn(5, 2))
    assert float(diagnosed.value.detach()) == 0.0
    assert diagnosed.result is None
    diagnosed.value.backward()
    assert torch.equal(q.grad, torch.zeros(5))


def test_the_module_is_the_function():
    q, treated, phi = _batch()
    module = losses.WBMLoss(against="all", masses="softmax", scale_cost=True, epsilon=0.2)
    expected = losses.wbm(q, treated, phi, against="all", masses="softmax", scale_cost=True, epsilon=0.2)
    assert torch.equal(module(q, treated, phi), expected)


def test_logits_are_their_propensities_and_stay_exact_where_those_round():
    q, treated, phi = _batch()
    z = q.logit()
    for masses, against in (("self-normalized", "untreated"), ("softmax", "untreated"), ("softmax", "all")):
        options = {"masses": masses, "against": against, "epsilon": 0.3, "min_ess": 0.0}
        expected = losses.wbm(q, treated, phi, **options)
        torch.testing.assert_close(losses.wbm(z, treated, phi, logits=True, **options), expected, atol=1e-9, rtol=0)
    clipped = losses.balance(10 * z, treated, phi, logits=True, clip=0.1)
    expected = losses.balance((10 * z).sigmoid(), treated, phi, clip=0.1)
    torch.testing.assert_close(clipped.value, expected.value, atol=1e-9, rtol=0)
    assert float(clipped.clipped) == float(expected.clipped) > 0
    # q rounds to 0 or 1 in float32, its weights do not
    far = torch.where(treated, -120.0, 120.0) + z.float()
    far.requires_grad_()
    value = losses.wbm(far, treated, phi, logits=True, clip=0.0, min_ess=0.0)
    value.backward()
    near = losses.wbm(torch.where(treated, -20.0, 20.0) + z, treated, phi, logits=True, clip=0.0, min_ess=0.0)
    torch.testing.assert_close(value.detach().double(), near, atol=1e-3, rtol=1e-3)
    assert bool(far.grad.isfinite().all())
    assert far.grad.abs().sum() > 0


def _collapsed():
    q = torch.full((30,), 0.9, dtype=torch.float64)
    q[0] = 1e-4
    return q, torch.arange(30) < 20, _batch()[2]


def test_a_collapse_of_the_masses_is_warned_of_once_per_call_site():
    """(Σw)²/Σw² of 20 treated is 1.0: the message says so, and what to do."""
    with pytest.warns(BalanceWarning, match=r"treated samples is 1\.0 of 20 .*raise clip, give the likelihood"):
        losses.wbm(*_collapsed(), clip=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for k in range(3):
            losses.wbm(*_collapsed(), clip=1e-4 * (1 + k))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_no_warning_where_the_masses_are_spread_or_it_is_not_wanted():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BalanceWarning)
        losses.wbm(*_batch())
        losses.wbm(*_collapsed(), clip=0.0, min_ess=0.0)
        losses.wbm(*_collapsed(), clip=0.2)
    with pytest.warns(BalanceWarning):
        losses.wbm(*_batch(), min_ess=1.0)


def test_the_diagnostics_are_those_of_the_masses_and_of_the_solve():
    q, treated, phi = _batch()
    found = losses.balance(q, treated, phi, clip=0.0, tol=1e-9)
    w = 1 / q[treated]
    assert float(found.ess_treated) == pytest.approx(float(w.sum() ** 2 / w.square().sum()))
    other = 1 / (1 - q[~treated])
    assert float(found.largest_mass) == pytest.approx(float(max(w.max() / w.sum(), other.max() / other.sum())))
    assert float(found.transported_mass) == pytest.approx(1.0)
    assert float(found.residual) <= 1e-9
    assert int(found.iterations) == int(found.result.iterations) > 0


def test_effective_sample_size():
    assert float(losses.effective_sample_size(torch.ones(7))) == pytest.approx(7)
    assert float(losses.effective_sample_size(torch.tensor([1.0, 0.0]))) == pytest.approx(1)


def test_squared_distances_far_from_the_origin():
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, 4, generator=rng) + 1e3 for _ in range(2))
    exact = (x.double()[:, None] - y.double()[None]).square().sum(-1)
    torch.testing.assert_close(losses.squared_distances(x, y).double(), exact, atol=1e-4, rtol=1e-4)
    assert bool((losses.squared_distances(x, x) >= 0).all())


Q, T, PHI = torch.full((4,), 0.5), torch.tensor([True, True, False, False]), torch.randn(4, 2)
BAD = {
    "propensity list": (([0.5] * 4, T, PHI), {}, TypeError, "propensity must be a torch.Tensor, got list"),
    "propensity shape": ((Q[:, None], T, PHI), {}, ValueError, r"propensity must .* shape \(B,\)"),
    "propensity above 1": ((Q + 0.6, T, PHI), {}, ValueError, r"propensity must be in \[0, 1\], got propensity\[0\] = 1.1"),
    "propensity NaN": ((Q * math.nan, T, PHI), {}, ValueError, r"got propensity\[0\] = nan"),
    "treatment shape": ((Q, T[:3], PHI), {}, ValueError, r"treatment must have the shape of propensity, \(4,\), got \(3,\)"),
    "treatment values": ((Q, torch.tensor([0, 1, 2, 1]), PHI), {}, ValueError, r"treatment\[2\] = 2"),
    "representation": ((Q, T, PHI[:3]), {}, ValueError, r"representation must have shape \(4, k\), got \(3, 2\)"),
    "logits NaN": ((Q * math.nan, T, PHI), {"logits": True}, ValueError, r"must be a logit, got propensity\[0\] = nan"),
    "logits for propensities": ((Q - 1, T, PHI), {}, ValueError, "pass logits=True for logits"),
    "min_ess": ((Q, T, PHI), {"min_ess": 2.0}, ValueError, r"min_ess must be in \[0, 1\], got 2"),
    "clip": ((Q, T, PHI), {"clip": 0.7}, ValueError, r"clip must be in \[0, 0.5\), got 0.7"),
    "masses": ((Q, T, PHI), {"masses": "soft-max"}, UnknownNameError, "did you mean 'softmax'"),
    "against": ((Q, T, PHI), {"against": "treated"}, UnknownNameError, "did you mean 'untreated'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rejected_with_a_reason(name):
    arguments, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        losses.wbm(*arguments, **options)


def test_the_module_rejects_unknown_names_when_made():
    with pytest.raises(UnknownNameError):
        losses.WBMLoss(against="nobody")


def test_the_criterion_is_that_of_the_solve():
    """Algorithm 1 stops by the scalings, earlier or later than by the marginals, at the same plan."""
    rng = torch.Generator().manual_seed(0)
    q, phi = torch.rand(40, generator=rng, dtype=torch.float64) * 0.8 + 0.1, torch.rand(40, 3, generator=rng).double()
    treated = torch.arange(40) < 15
    options = {"epsilon": 0.5, "max_iter": 10_000}
    by_scaling = losses.balance(q, treated, phi, criterion="scaling", tol=1e-20, **options)
    by_margin = losses.balance(q, treated, phi, tol=1e-10, **options)
    torch.testing.assert_close(by_scaling.value, by_margin.value, rtol=1e-7, atol=0)
    loose = losses.balance(q, treated, phi, criterion="scaling", tol=1e-2, **options)
    assert int(loose.result.iterations) < int(by_scaling.result.iterations)
    torch.testing.assert_close(losses.wbm(q, treated, phi, criterion="scaling", tol=1e-2, **options), loose.value)
    with pytest.raises(ValueError, match="criterion='margins' does not exist"):
        losses.wbm(q, treated, phi, criterion="margins")
