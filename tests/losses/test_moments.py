"""Discrepancies of moments: values by their formulae, gradients, what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from problems import generator
from wbm_ext import losses
from wbm_ext.errors import UnknownNameError


def _sets(n=6, m=4, k=2, seed=0):
    rng = generator(seed)
    x = torch.randn(n, k, generator=rng, dtype=torch.float64)
    y = torch.randn(m, k, generator=rng, dtype=torch.float64) + 0.5
    a, b = (torch.rand(size, generator=rng, dtype=torch.float64) + 0.2 for size in (n, m))
    return x, y, a, b


@pytest.mark.parametrize("bandwidth", [0.7, None])
def test_mmd_sum_by_sum(bandwidth):
    x, y, a, b = _sets()
    sigma = bandwidth or float(torch.nn.functional.pdist(torch.cat([x, y])).median())

    def mean(p, q, u, v):
        return (torch.outer(u, v) * torch.exp(-torch.cdist(p, q).square() / (2 * sigma**2))).sum()

    u, v = a / a.sum(), b / b.sum()
    expected = mean(x, x, u, u) + mean(y, y, v, v) - 2 * mean(x, y, u, v)
    torch.testing.assert_close(losses.mmd(x, y, a, b, bandwidth=bandwidth), expected, atol=1e-12, rtol=0)


def test_mmd_with_the_linear_kernel_is_the_squared_distance_of_means():
    x, y, a, b = _sets()
    means = (a[:, None] * x).sum(0) / a.sum() - (b[:, None] * y).sum(0) / b.sum()
    torch.testing.assert_close(losses.mmd(x, y, a, b, kernel="linear"), means.square().sum())
    torch.testing.assert_close(losses.linear_discrepancy(x, y, a, b), means.norm())


def test_mmd_is_zero_on_equal_sets_and_free_of_their_scale():
    x, y, a, b = _sets()
    order = torch.randperm(6, generator=generator(1))
    assert float(losses.mmd(x, x[order], a, a[order])) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(losses.mmd(x, y, a, b), losses.mmd(100 * x, 100 * y, a, b))
    same = torch.ones(3, 2)
    assert float(losses.mmd(same, same)) == pytest.approx(0.0, abs=1e-6)


def test_the_linear_discrepancy_with_the_share_of_treated():
    x, y, _, _ = _sets()
    expected = 2 * (0.2 * x.mean(0) - 0.8 * y.mean(0)).norm()
    torch.testing.assert_close(losses.linear_discrepancy(x, y, share=0.2), expected)


@pytest.mark.parametrize("options", [{"bandwidth": 0.7}, {"kernel": "linear"}])
def test_the_gradient_of_mmd(options):
    tensors = tuple(v.requires_grad_() for v in _sets())
    assert torch.autograd.gradcheck(lambda *v: losses.mmd(*v, **options), tensors)


def test_the_gradient_of_the_linear_discrepancy():
    tensors = tuple(v.requires_grad_() for v in _sets())
    assert torch.autograd.gradcheck(lambda *v: losses.linear_discrepancy(*v, share=0.3), tensors)
    x = torch.ones(3, 2, requires_grad=True)
    losses.linear_discrepancy(x, torch.ones(2, 2)).backward()
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_sets_in_batches_and_empty_sets():
    sets = [_sets(seed=seed) for seed in range(3)]
    batch = [torch.stack(parts) for parts in zip(*sets, strict=True)]
    for loss in (losses.mmd, losses.linear_discrepancy):
        torch.testing.assert_close(loss(*batch), torch.stack([loss(*s) for s in sets]))
        x = torch.zeros(0, 2, requires_grad=True)
        value = loss(x, torch.ones(2, 2, requires_grad=True))
        value.backward()
        assert float(value.detach()) == 0.0


@pytest.mark.parametrize("logits", [True, False])
def test_moment_balance_is_its_formula(logits):
    phi = torch.randn(12, 3, generator=generator(0), dtype=torch.float64)
    z, o = phi[:, 0], torch.arange(12) % 3 == 0
    q = z.sigmoid()
    weight = o / q - ~o / (1 - q)
    expected = (weight[:, None] * phi).mean(0).square().sum()
    got = losses.moment_balance(z if logits else q, o, phi, logits=logits, clip=0.0)
    torch.testing.assert_close(got, expected)
    one = losses.moment_balance(z if logits else q, o, phi[:, 1], logits=logits, clip=0.0)
    torch.testing.assert_close(one, (weight * phi[:, 1]).mean().square())


def test_moment_balance_is_small_at_the_true_propensities():
    rng = generator(1)
    phi = torch.randn(20_000, 2, generator=rng, dtype=torch.float64)
    q = phi[:, 0].sigmoid()
    o = torch.rand(20_000, generator=rng, dtype=torch.float64) < q
    assert float(losses.moment_balance(q, o, phi)) < 0.01
    assert float(losses.moment_balance(torch.full_like(q, 0.5), o, phi)) > 0.1


@pytest.mark.parametrize("logits", [True, False])
def test_the_gradient_of_moment_balance(logits):
    phi = torch.randn(8, 2, generator=generator(0), dtype=torch.float64).requires_grad_()
    o = torch.arange(8) % 2 == 0
    given = phi.detach()[:, 1].clone() if logits else phi.detach()[:, 1].sigmoid()

    def value(q, phi):
        return losses.moment_balance(q, o, phi, logits=logits, detach_representation=False)

    assert torch.autograd.gradcheck(value, (given.requires_grad_(), phi))
    extreme = torch.tensor([800.0, -800.0], dtype=torch.float64, requires_grad=True)
    losses.moment_balance(extreme, torch.tensor([1, 0]), torch.ones(2), logits=True, clip=0.0).backward()
    assert bool(extreme.grad.isfinite().all())


X, Q, T = torch.zeros(3, 2), torch.full((3,), 0.5), torch.tensor([0, 1, 1])
BAD = {
    "kernel": (losses.mmd, (X, X), {"kernel": "rfb"}, UnknownNameError, "did you mean 'rbf'"),
    "bandwidth": (losses.mmd, (X, X), {"bandwidth": 0.0}, ValueError, r"bandwidth must be in \(0, inf\), got 0"),
    "share": (losses.linear_discrepancy, (X, X), {"share": 1}, ValueError, r"share must be in \(0, 1\), got 1"),
    "representation": (losses.moment_balance, (Q, T, X[:2]), {}, ValueError, r"representation must have shape \(3,\) or \(3, k\)"),
    "list": (losses.moment_balance, (Q, T, [1.0]), {}, TypeError, "representation must be a torch.Tensor, got list"),
    "logit": (losses.moment_balance, (Q * math.nan, T, X), {"logits": True}, ValueError, r"propensity must be a logit, got propensity\[0\] = nan"),
    "integers": (losses.mmd, (X.long(), X), {}, TypeError, "x must be floating-point, got torch.int64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rejected_with_a_reason(name):
    function, arguments, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        function(*arguments, **options)
