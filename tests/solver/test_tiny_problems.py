"""Many tiny problems are iterated eight at a time: each has the answer and the gradients that it has alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import wbm_ext

FIXED = {"epsilon": 0.3, "tol": 0, "max_iter": 20, "method": "sinkhorn"}


def batch(count: int, n: int, m: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Costs and masses, both marginals of a problem with the same total."""
    rng = torch.Generator().manual_seed(seed)
    D = torch.randn(count, n, m, generator=rng, dtype=dtype)
    a, b = (torch.rand(count, k, generator=rng, dtype=dtype) + 0.1 for k in (n, m))
    return D, a, b * (a.sum(1) / b.sum(1))[:, None]


def answers(D: Tensor, a: Tensor, b: Tensor, weights: Tensor, **options) -> tuple[Tensor, ...]:
    """Costs, potentials, residual, and the gradients of a function of all of them."""
    inputs = [x.clone().requires_grad_() for x in (D, a, b)]
    result = wbm_ext.solve(*inputs, **FIXED, **options)
    scalar = result.cost.sum() + 0.5 * result.regularized_cost.sum() + (result.plan * weights).sum() + result.f.sum()
    gradients = torch.autograd.grad(scalar, inputs)
    return tuple(
        x.detach() for x in (result.cost, result.regularized_cost, result.f, result.g, result.residual, *gradients)
    )


@pytest.mark.parametrize("grad", ["implicit", "unrolled"])
@pytest.mark.parametrize("reference", ["entropy", "product"])
@pytest.mark.parametrize(("n", "m"), [(4, 4), (1, 3), (8, 5), (2, 8)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_problem_of_a_batch_is_solved_as_it_is_alone(n, m, dtype, reference, grad):
    D, a, b = batch(19, n, m, dtype)  # two groups of eight and one of three
    weights = torch.randn(n, m, generator=torch.Generator().manual_seed(1), dtype=dtype)
    options = {"reference": reference, "grad": grad}
    together = answers(D, a, b, weights, **options)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    for p in range(len(D)):
        alone = answers(D[p : p + 1], a[p : p + 1], b[p : p + 1], weights, **options)
        for x, y in zip(together, alone, strict=True):
            torch.testing.assert_close(x[p : p + 1], y, rtol=tolerance, atol=tolerance)


def test_the_unrolled_gradient_is_that_of_finite_differences():
    D, a, b = batch(9, 3, 4, torch.float64)

    def value(D: Tensor) -> Tensor:
        return (
            wbm_ext.solve(D, a, b, epsilon=0.3, tol=0, max_iter=3, method="sinkhorn", grad="unrolled")
            .plan.square()
            .sum()
        )

    assert torch.autograd.gradcheck(value, D.requires_grad_(), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("grad", ["implicit", "unrolled"])
def test_an_odd_problem_changes_nothing_for_its_neighbours(grad):
    """A zero mass, a forbidden pair, and a cost out of range: their group is solved problem by problem."""
    D, a, b = batch(24, 4, 4, torch.float64)
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = answers(D, a, b, weights, grad=grad)
    D, a, b = D.clone(), a.clone(), b.clone()
    a[1, 1] += a[1, 0].item()
    a[1, 0] = 0.0
    D[9, 0, 1] = torch.inf
    D[10] *= 300
    found = answers(D, a, b, weights, grad=grad)
    same = torch.tensor([p not in (1, 9, 10) for p in range(24)])
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x[same], y[same], rtol=1e-9, atol=1e-9)
    assert all(bool(torch.isfinite(x[[1, 9]]).all()) for x in (found[0], found[5]))


def test_threads_and_places_in_the_batch_change_no_bit():
    D, a, b = batch(3000, 4, 4, torch.float32)
    weights = torch.ones(4, 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = answers(D, a, b, weights, grad="unrolled")
        torch.set_num_threads(2)
        two = answers(D, a, b, weights, grad="unrolled")
        shifted = answers(D[3:], a[3:], b[3:], weights, grad="unrolled")
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, one, two))
    assert all(torch.equal(x[3:], y) for x, y in zip(one, shifted, strict=True))
