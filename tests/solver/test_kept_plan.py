"""A backward that goes on from what its solve has kept gives the gradient that it gives without."""

from __future__ import annotations

import pytest
import torch

import wbm_ext
from wbm_ext._native import BACKEND
from wbm_ext.solver import native

pytestmark = pytest.mark.skipif(BACKEND != "native", reason="only the CPU kernels keep anything")


def gradients(monkeypatch, kept: bool, dtype, n, m, epsilon, tol, **options):
    monkeypatch.setattr(native, "KEPT_BYTES", 1 << 25 if kept else -1)
    rng = torch.Generator().manual_seed(5)
    x, y = torch.randn(n, 3, generator=rng, dtype=dtype), torch.randn(m, 3, generator=rng, dtype=dtype) + 0.5
    D = torch.cdist(x, y).square()
    D = D / D.mean()
    a = torch.rand(n, generator=rng, dtype=dtype) + 0.2
    b = torch.rand(m, generator=rng, dtype=dtype) + 0.2
    a, b = (a / a.sum()).requires_grad_(), (b / b.sum()).requires_grad_()
    result = wbm_ext.solve(D, a, b, epsilon=epsilon, tol=tol, max_iter=20_000, **options)
    loss = result.cost + 0.3 * result.regularized_cost + (result.f * torch.arange(n)).sum() / n
    found = torch.autograd.grad(loss, (a, b), retain_graph=True)
    again = torch.autograd.grad(loss, (a, b))
    assert all(torch.equal(first, second) for first, second in zip(found, again, strict=True))
    assert float(result.backward_residual) <= max(1e-3 * tol, 1e-9 if dtype == torch.float32 else 1e-12)
    return found


@pytest.mark.parametrize("shape", [(40, 33), (23, 60), (130, 130)])
@pytest.mark.parametrize("epsilon", [0.2, 0.05, 0.005])
@pytest.mark.parametrize("kappa", [float("inf"), 1.0, (float("inf"), 0.5)])
@pytest.mark.parametrize(
    ("dtype", "tol", "close"), [(torch.float64, 1e-10, 1e-7), (torch.float32, 1e-6, 1e-3), (torch.float32, 1e-3, 2e-2)]
)
def test_kept_and_evaluated_anew_agree(monkeypatch, shape, epsilon, kappa, dtype, tol, close):
    kept = gradients(monkeypatch, True, dtype, *shape, epsilon, tol, kappa=kappa)
    anew = gradients(monkeypatch, False, dtype, *shape, epsilon, tol, kappa=kappa)
    for mine, other in zip(kept, anew, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=close * float(other.abs().max()))


def test_a_frozen_gradient_is_the_plan(monkeypatch):
    D = torch.rand(12, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    result = wbm_ext.solve(D, epsilon=0.1, grad="frozen")
    (gradient,) = torch.autograd.grad(result.cost, D)
    torch.testing.assert_close(gradient, result.plan.detach(), rtol=1e-10, atol=1e-14)
