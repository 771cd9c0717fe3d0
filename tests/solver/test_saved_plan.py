"""A backward that goes on from what its solve has kept gives the gradient that it gives without."""

from __future__ import annotations

import pytest
import torch

import wbm_ext
from wbm_ext._native import BACKEND
from wbm_ext.solver import kernels

pytestmark = pytest.mark.skipif(BACKEND != "native", reason="only the CPU kernels keep anything")


def gradients(monkeypatch, kept: bool, dtype, n, m, epsilon, tol, **options):
    monkeypatch.setattr(kernels, "SAVED_BYTES", 1 << 25 if kept else -1)
    rng = torch.Generator().manual_seed(5)
    x, y = torch.randn(n, 3, generator=rng, dtype=dtype), torch.randn(m, 3, generator=rng, dtype=dtype) + 0.5
    D = torch.cdist(x, y).square()
    D = (D / D.mean()).requires_grad_()
    a = torch.rand(n, generator=rng, dtype=dtype) + 0.2
    b = torch.rand(m, generator=rng, dtype=dtype) + 0.2
    a, b = (a / a.sum()).requires_grad_(), (b / b.sum()).requires_grad_()
    result = wbm_ext.solve(D, a, b, epsilon=epsilon, tol=tol, max_iter=20_000, **options)
    loss = result.cost + 0.3 * result.regularized_cost + (result.f * torch.arange(n)).sum() / n
    found = torch.autograd.grad(loss, (D, a, b), retain_graph=True)
    again = torch.autograd.grad(loss, (D, a, b))
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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "epsilon", "close"), [(torch.float32, 0.02, 3e-6), (torch.float64, 0.005, 1e-11)])
def test_the_gradient_is_the_plan_down_to_its_smallest_entries(dtype, epsilon, close, masked):
    """dW/dD = P in every entry, those included whose stored kernel has flushed to zero."""
    n, m = 40, 33
    for seed in range(6):
        rng = torch.Generator().manual_seed(seed)
        D = torch.rand(n, m, dtype=dtype, generator=rng) * torch.logspace(-2, 1, m, dtype=dtype)
        a = torch.rand(n, dtype=dtype, generator=rng) ** 6 + 1e-6
        mask = torch.rand(n, m, generator=rng) < 0.9 if masked else None
        D = (D / D.mean()).requires_grad_()
        result = wbm_ext.solve(D, a / a.sum(), epsilon=epsilon, mask=mask, tol=1e-3, max_iter=20_000)
        (gradient,) = torch.autograd.grad(result.regularized_cost, D)
        plan = result.plan.detach()
        torch.testing.assert_close(gradient, plan, rtol=close, atol=torch.finfo(dtype).tiny)
        if mask is not None:
            assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_cost_that_was_copied_for_the_solve_is_read_again(dtype):
    """Neither the columns of another matrix nor 16-bit entries are read in place: the copy is gone at the backward."""
    D = torch.rand(60, 3, 50, generator=torch.Generator().manual_seed(4)).to(dtype)
    one, other = (D[:, 1].T.clone(), D[:, 1].T) if dtype != torch.float16 else (D[:, 1].T.float(), D[:, 1].T)
    gradients = []
    for cost in (one, other):
        cost = cost.detach().requires_grad_()
        result = wbm_ext.solve(cost, epsilon=0.05, tol=1e-5)
        spoiled = [torch.full((50, 60), float("nan"), dtype=one.dtype) for _ in range(20)]  # in the room of the copy
        gradients.append(torch.autograd.grad(result.cost, cost)[0].to(spoiled[0].dtype))
    close = 1e-3 if dtype == torch.float16 else 1e-6
    torch.testing.assert_close(*gradients, rtol=0, atol=close * float(gradients[0].abs().max()))


def test_a_frozen_gradient_is_the_plan(monkeypatch):
    D = torch.rand(12, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    result = wbm_ext.solve(D, epsilon=0.1, grad="frozen")
    (gradient,) = torch.autograd.grad(result.cost, D)
    torch.testing.assert_close(gradient, result.plan.detach(), rtol=1e-10, atol=1e-14)
