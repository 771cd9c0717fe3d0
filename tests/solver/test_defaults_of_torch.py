"""The default device and type of torch are those of tensors that are made, not of those that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import wbm_ext
from problems import generator
from wbm_ext import losses

RNG = generator(0)
X, Y = torch.rand(8, 2, generator=RNG), torch.rand(6, 2, generator=RNG) + 0.2
D = torch.cdist(X, Y).square()
Q = torch.rand(8, generator=RNG) * 0.6 + 0.2
TREATED = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0], dtype=torch.bool)
OUTCOME, OTHER = torch.rand(8, generator=RNG), torch.rand(8, generator=RNG)
STRENGTH = torch.tensor(0.3)
MASK = torch.ones(8, 6, dtype=torch.bool)


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    x = at.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def twice(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    x = at.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), x)[0]


CALLS: dict[str, Callable[[], Any]] = {
    "sinkhorn": lambda: wbm_ext.sinkhorn(D),
    "plan": lambda: wbm_ext.solve(D, mask=MASK, kappa=1.0).plan,
    "potentials": lambda: wbm_ext.solve(D, reference="product", kappa=(1.0, float("inf"))).f,
    "small epsilon": lambda: wbm_ext.sinkhorn(D, epsilon=1e-3),
    "scaling": lambda: wbm_ext.sinkhorn(D, criterion="scaling"),
    **{
        f"{grad} gradient": lambda grad=grad: gradient(lambda D: wbm_ext.sinkhorn(D, epsilon=0.3, grad=grad), D)
        for grad in ("implicit", "unrolled", "frozen")
    },
    "gradient in epsilon": lambda: gradient(lambda e: wbm_ext.sinkhorn(D, epsilon=e, kappa=2.0), STRENGTH),
    "second derivative": lambda: twice(lambda D: wbm_ext.sinkhorn(D, epsilon=0.3), D),
    "vmap": lambda: torch.func.vmap(wbm_ext.sinkhorn)(D[None]),
    "jvp": lambda: torch.func.jvp(lambda D: wbm_ext.sinkhorn(D, epsilon=0.3), (D,), (D,))[1],
    "squared_distances": lambda: losses.squared_distances(X, Y),
    "squared_distances gradient": lambda: gradient(lambda x: losses.squared_distances(x, Y), X),
    "sinkhorn_divergence": lambda: losses.sinkhorn_divergence(X, Y),
    "sinkhorn_divergence gradient": lambda: gradient(lambda x: losses.sinkhorn_divergence(x, Y), X),
    "debiased_transport": lambda: losses.debiased_transport(X, Y).value,
    "wbm": lambda: losses.wbm(Q, TREATED, X),
    "wbm gradient": lambda: gradient(lambda q: losses.wbm(q, TREATED, X), Q),
    "wbm vmap": lambda: torch.func.vmap(lambda q: losses.wbm(q, TREATED, X))(Q[None]),
    "balance": lambda: losses.balance(Q, TREATED, X).value,
    "moment_balance": lambda: losses.moment_balance(Q, TREATED, X),
    "rmpr": lambda: losses.rmpr(X, Y, kappa=1.0),
    "rmpr gradient": lambda: gradient(lambda x: losses.rmpr(x, Y, kappa=1.0), X),
    "relaxed_transport": lambda: losses.relaxed_transport(X, Y, kappa=1.0).value,
    "escfr_discrepancy": lambda: losses.escfr_discrepancy(X, TREATED, OUTCOME, OTHER, kappa=1.0),
    "escfr_transport": lambda: losses.escfr_transport(X, TREATED, OUTCOME, OTHER, kappa=1.0).value,
    "mmd": lambda: losses.mmd(X, Y),
    "linear_discrepancy": lambda: losses.linear_discrepancy(X, Y),
    "median_bandwidth": lambda: losses.median_bandwidth(X, Y),
    "effective_sample_size": lambda: losses.effective_sample_size(Q),
    "inverse_propensity_masses": lambda: losses.inverse_propensity_masses(Q),
}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CALLS)
def test_another_default_device_or_type_changes_nothing(name: str) -> None:
    expected = CALLS[name]()
    torch.set_default_device("meta")
    answers = [CALLS[name]()]
    torch.set_default_device(None)
    for dtype in (torch.float64, torch.float16):
        torch.set_default_dtype(dtype)
        answers.append(CALLS[name]())
    for got in answers:
        if isinstance(expected, Tensor):
            assert (got.device, got.dtype) == (expected.device, expected.dtype)
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
        else:
            assert got == pytest.approx(expected, rel=1e-6)
