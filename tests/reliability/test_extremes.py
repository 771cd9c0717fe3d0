"""Problems at the edge of the floating-point range, each once found by the random ones."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import wbm_ext
from wbm_ext import Status

REAL = {"dtype": torch.float64}
INF = math.inf


@pytest.mark.parametrize("kappa", [INF, (1e5, 2.0)], ids=["hard", "soft"])
@pytest.mark.parametrize("reference", ["entropy", "product"])
@pytest.mark.parametrize("grad", ["implicit", "unrolled"])
def test_a_zero_mass_leaves_the_gradients_of_the_others_alone(grad, reference, kappa):
    """A unit of mass there would carry exp(1000) under the potentials before the last update."""
    D = torch.tensor([[1845.0, 139.0], [124.0, 1368.0]], **REAL).requires_grad_()
    a, b = torch.tensor([1.0, 0.0], **REAL).requires_grad_(), torch.tensor([0.5, 0.5], **REAL)
    options = {"epsilon": 1.0, "kappa": kappa, "reference": reference, "grad": grad, "max_iter": 200}
    got = torch.autograd.grad(wbm_ext.solve(D, a, b, **options).cost, [D, a])
    row, one = D.detach()[:1].requires_grad_(), a.detach()[:1].requires_grad_()
    expected = torch.autograd.grad(wbm_ext.solve(row, one, b, **options).cost, [row, one])
    assert not torch.cat([x.flatten() for x in got]).isnan().any()
    torch.testing.assert_close(got[0][:1], expected[0], atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(got[1][:1], expected[1], atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("reference", ["entropy", "product"])
@pytest.mark.parametrize("far", [700.0, 2100.0, 2118.0, 2205.0, 3000.0, 20_000.0])
@pytest.mark.parametrize("near", [0.0, 1000.0])
def test_a_row_too_dear_for_any_mass_has_a_potential_with_a_gradient(near, far, reference):
    """f = s log a - lambda LSE((g - D) / eps) is differentiated, though its plan underflows to 0.

    Where the other row carries mass (near = 0) the equation itself holds too; where nothing does, any g is within tol.
    """
    D = torch.tensor([[near, near + 1.0], [near + far, near + far + 1.0]], **REAL).requires_grad_()
    a, b = torch.tensor([0.5, 0.5], **REAL).requires_grad_(), torch.tensor([0.5, 0.6], **REAL)
    result = wbm_ext.solve(D, a, b, epsilon=1.0, kappa=(2.0, 3.0), reference=reference, tol=1e-13)
    ratio = 2.0 / 3.0
    strength = ratio if reference == "entropy" else 1.0
    share = torch.softmax(result.g.detach() - D.detach()[1], 0)
    own = strength * math.log(0.5) - ratio * float(torch.logsumexp(result.g.detach() - D.detach()[1], 0))
    if near == 0.0:
        assert float(result.f[1].detach()) == pytest.approx(own, rel=1e-9)
    to_cost, to_mass = torch.autograd.grad(result.f[1], [D, a])
    assert float(to_mass[1]) == pytest.approx(strength / 0.5, rel=1e-9)
    torch.testing.assert_close(to_cost[1], ratio * share, atol=1e-9, rtol=1e-7)
    assert float(to_cost[0].abs().max()) < 1.0
    assert float(to_mass[0].abs()) < 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_transported_mass_converges(dtype):
    """Negative costs create mass, here exp(74): more than the squares of float32 masses leave room for."""
    rng = torch.Generator().manual_seed(0)
    D = torch.rand(20, 15, generator=rng, dtype=dtype) * 0.01 - 74
    a, b = (torch.rand(k, generator=rng, dtype=dtype) * 1e-3 for k in (20, 15))
    result = wbm_ext.solve(D, a, b, epsilon=1.0, kappa=(1e-7, 1e-4))
    assert bool(result.converged)
    assert float(result.transported_mass) > 1e25
    assert bool(torch.isfinite(result.cost))


def test_a_cost_beyond_the_range_of_its_type_is_an_overflow():
    D, mass = torch.full((2, 2), -400.0), torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
        single = wbm_ext.solve(D, mass, mass, epsilon=1.0, kappa=1.0)
    double = wbm_ext.solve(D.double(), mass.double(), mass.double(), epsilon=1.0, kappa=1.0)
    assert bool(torch.isfinite(double.cost))
    assert bool(double.converged)
    assert int(single.status) & Status.OVERFLOW
    assert not bool(single.converged)


@pytest.mark.parametrize("kappa", [INF, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_the_unit_of_the_costs_does_not_matter(scale, dtype, kappa):
    rng = torch.Generator().manual_seed(0)
    D, b = torch.rand(9, 7, generator=rng, dtype=dtype), torch.rand(7, generator=rng, dtype=dtype) + 0.1
    expected = wbm_ext.solve(D, None, b / b.sum(), epsilon=0.1, kappa=kappa)
    got = wbm_ext.solve(D * scale, None, b / b.sum(), epsilon=0.1 * scale, kappa=kappa * scale)
    torch.testing.assert_close(got.plan, expected.plan, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got.cost / scale, expected.cost, atol=0, rtol=1e-4)
