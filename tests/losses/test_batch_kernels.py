"""The CPU kernels behind a batch's masses and cost say what torch's operations say."""

from __future__ import annotations

import pytest
import torch

from wbm_ext import losses
from wbm_ext.losses import batch_kernels
from wbm_ext.losses.costs import squared_distances

pytestmark = pytest.mark.skipif(batch_kernels.BACKEND != "native", reason="the compiled module is what is tested")


def both_ways(monkeypatch, q, *args, **options):
    """(value, gradient, balance) by the kernels and by torch."""
    found = []
    for plain in (batch_kernels.plain, lambda *tensors: False):
        monkeypatch.setattr(batch_kernels, "plain", plain)
        leaf = q.clone().requires_grad_()
        result = losses.balance(leaf, *args, **options)
        (gradient,) = torch.autograd.grad(result.value, leaf)
        found.append((result.value.detach(), gradient, result))
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("against", ["untreated", "all"])
@pytest.mark.parametrize("masses", ["self-normalized", "softmax"])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("clip", [0.0, 0.4])
def test_kernels_and_torch_give_one_value_and_gradient(monkeypatch, against, masses, logits, dtype, rtol, clip):
    rng = torch.Generator().manual_seed(3)
    treated = torch.rand(101, generator=rng) < 0.4
    z, phi = torch.randn(101, generator=rng, dtype=dtype) / 2, torch.randn(101, 7, generator=rng, dtype=dtype)
    (value, gradient, result), (expected, wanted, reference) = both_ways(
        monkeypatch, z if logits else z.sigmoid(), treated, phi, logits=logits, masses=masses, against=against,
        clip=clip, epsilon=0.1, scale_cost=True, tol=1e-6 if dtype == torch.float32 else 1e-11, min_ess=0,
    )  # fmt: skip
    torch.testing.assert_close(value, expected, rtol=rtol, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=rtol, atol=rtol * float(wanted.abs().max()))
    assert result.clipped == reference.clipped
    assert (clip > 0) == (float(result.clipped) > 0)
    torch.testing.assert_close(result.ess_treated, reference.ess_treated, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (24, 32, 3), (25, 33, 8), (70, 15, 65)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scaled", [False, True])
def test_distances_are_those_of_torch(shape, dtype, scaled):
    n, m, k = shape
    phi = 3 + torch.randn(n + m, k, generator=torch.Generator().manual_seed(1), dtype=dtype)
    treated = torch.arange(n + m) % (n + m) < n
    groups, _ = batch_kernels.split(treated, against="untreated")
    D = batch_kernels.cost(phi, groups, scaled)
    exact = torch.cdist(phi[:n].double(), phi[n:].double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    exact = exact / exact.mean() if scaled else exact
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(D.double(), exact, rtol=tolerance, atol=tolerance * float(exact.max()))


def test_a_nan_point_stays_a_nan():
    phi = torch.zeros(6, 2)
    phi[5, 1] = float("nan")
    groups, _ = batch_kernels.split(torch.arange(6) < 3, against="untreated")
    assert batch_kernels.cost(phi, groups, False)[:, 2].isnan().all()
    assert squared_distances(phi[:3], phi[3:])[:, 2].isnan().all()


def test_a_second_derivative_comes_from_torch():
    treated = torch.tensor([True, False, True, False, True])
    phi = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = torch.tensor([0.3, 0.6, 0.5, 0.4, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: losses.wbm(x, treated, phi, epsilon=0.5, tol=1e-13), (q,))


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_a_propensity_out_of_range_is_named(wrong):
    q = torch.tensor([0.5, 0.5, wrong, 0.5])
    with pytest.raises(ValueError, match=r"propensity\[2\]"):
        losses.wbm(q, torch.tensor([1, 0, 1, 0]), torch.eye(4))
