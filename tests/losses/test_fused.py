"""A loss in one call of the kernels has the value and the gradients of the same loss in operations of torch."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch

from wbm_ext import losses
from wbm_ext.errors import BalanceWarning, ConvergenceWarning
from wbm_ext.losses import balancing, escfr, fused

pytestmark = pytest.mark.skipif(fused.BACKEND != "native", reason="the compiled module is what is tested")

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}


def batch(size, k, dtype, seed=0, treated=None):
    """Logits, treatment and points of a batch, and outcomes of both kinds with two columns."""
    rng = torch.Generator().manual_seed(seed)
    z, phi = torch.randn(size, generator=rng, dtype=dtype) / 2, 3 + torch.randn(size, k, generator=rng, dtype=dtype)
    y, other = torch.randn(2, size, 2, generator=rng, dtype=dtype)
    mask = torch.rand(size, generator=rng) < 0.4 if treated is None else torch.arange(size) < treated
    return z, mask, phi, y, other


def composed(monkeypatch, module, name):
    """The module does without the one call."""
    monkeypatch.setattr(module, name, lambda *args, **options: None)


def gradients(function, *leaves):
    """Value and gradients of function(*leaves), leaves that need none left as they are."""
    own = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad) for x in leaves]
    value = function(*own)
    wanted = [x for x in own if x.requires_grad]
    return value.detach(), torch.autograd.grad(1.7 * value, wanted) if wanted else ()


def agree(found, expected, dtype):
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
    assert len(found[1]) == len(expected[1])
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * max(float(other.abs().max()), 1e-3))


@pytest.fixture
def counted(monkeypatch):
    """How many losses were done in one call."""
    done = []
    for module, name in ((balancing.fused, "balance_value"), (escfr, "outcome_value")):
        original = getattr(module, name)

        def call(*args, _original=original, **options):
            found = _original(*args, **options)
            done.append(found is not None)
            return found

        monkeypatch.setattr(module, name, call)
    return done


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("leaves", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"against": "all"},
        {"masses": "softmax", "clip": 0.2},
        {"scale_cost": True, "epsilon": 0.05},
        {"kappa": 2.0, "epsilon": 1.0},
        {"kappa": (math.inf, 2.0), "epsilon": 1},
        {"grad": "frozen", "epsilon": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [2, 37, 150])
def test_wbm_is_that_of_torch(monkeypatch, counted, size, options, leaves, dtype):
    z, treated, phi, *_ = batch(size, 5, dtype, treated=1 if size == 2 else None)
    z.requires_grad_(leaves[0])
    phi.requires_grad_(leaves[1])
    tol = 1e-6 if dtype == torch.float32 else 1e-11
    options = {"logits": True, "detach_representation": False, "tol": tol, "max_iter": 10_000, "min_ess": 0, **options}

    def loss(z, phi):
        return losses.wbm(z, treated, phi, **options)

    found = gradients(loss, z, phi)
    assert counted == [True]
    composed(monkeypatch, balancing.fused, "balance_value")
    agree(found, gradients(loss, z, phi), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("leaves", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gamma": 0.3},
        {"gamma": 0.0},
        {"gamma": 0.3, "detach_outcomes": True},
        {"gamma": 0.3, "kappa": math.inf},
        {"gamma": 0.3, "kappa": (0.5, 3.0), "reference": "product"},
        {"gamma": 0.3, "grad": "implicit", "epsilon": 0.3},
        {"epsilon": None, "distance_scale": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [2, 90])
def test_the_discrepancy_is_that_of_torch(monkeypatch, counted, size, options, leaves, columns, dtype):
    _, treated, r, y, other = batch(size, 7, dtype, treated=1 if size == 2 else None)
    y, other = (y[:, 0], other[:, 0]) if columns == 1 else (y, other)
    r = r.requires_grad_(leaves[0])
    other = other.detach().clone().requires_grad_(leaves[1])
    options = {"tol": 1e-6 if dtype == torch.float32 else 1e-11, "max_iter": 10_000, **options}
    idle = options.get("gamma") == 0 or options.get("detach_outcomes")  # nothing reaches the outcomes
    other = other.detach() if idle else other

    def loss(r, other):
        return losses.escfr_discrepancy(r, treated, y, other, **options)

    found = gradients(loss, r, other)
    assert counted == [True]
    composed(monkeypatch, escfr, "outcome_value")
    agree(found, gradients(loss, r, other), dtype)


@pytest.mark.parametrize("options", [{}, {"scale_cost": False, "against": "all"}, {"grad": "implicit", "kappa": 1.5}])
def test_wbm_against_finite_differences(counted, options):
    z, treated, phi, *_ = batch(14, 3, torch.float64)
    options = {
        "logits": True,
        "detach_representation": False,
        "tol": 1e-13,
        "max_iter": 10_000,
        "epsilon": 1.0,
        **options,
    }
    leaves = (z.requires_grad_(), phi.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, phi: losses.wbm(z, treated, phi, **options), leaves, atol=1e-6)
    assert all(counted)


def test_the_discrepancy_against_finite_differences(counted):
    _, treated, r, y, other = batch(13, 3, torch.float64)
    options = {"gamma": 0.4, "grad": "implicit", "tol": 1e-13, "max_iter": 10_000, "kappa": 2.0}
    leaves = (r.requires_grad_(), other.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda r, other: losses.escfr_discrepancy(r, treated, y, other, **options), leaves, atol=1e-6
    )
    assert all(counted)


def laid_out(x, how):
    """The same values in another layout."""
    if how == "strided":
        wide = x.new_full([3 * s for s in x.shape], math.nan)
        place = tuple(slice(1, None, 3) for _ in x.shape)
        wide[place] = x.detach()
        return wide[place]
    if how == "padded":  # rows farther apart than they are long
        return torch.cat([x.detach()] * 2, -1)[..., : x.shape[-1]]
    return x.detach().mT.contiguous().mT if x.dim() == 2 else x.detach().flip(0).contiguous().flip(0)


@pytest.mark.parametrize("how", ["strided", "padded", "transposed"])
def test_any_layout_has_the_same_value_and_gradients(counted, how):
    z, treated, phi, y, other = batch(40, 5, torch.float64)
    mask = laid_out(treated, "strided")

    def balance(z, phi):
        return losses.wbm(z, mask, phi, logits=True, detach_representation=False, epsilon=0.5)

    def discrepancy(r, other):
        return losses.escfr_discrepancy(r, mask, laid_out(y, how), other, gamma=0.3)

    for loss, first, second in ((balance, z, phi), (discrepancy, phi, other)):
        plain = [x.detach().clone().requires_grad_() for x in (first, second)]
        moved = [laid_out(x, how).requires_grad_() for x in (first, second)]
        assert how == "padded" or not moved[1].is_contiguous()
        expected = torch.autograd.grad(loss(*plain), plain)
        found = torch.autograd.grad(loss(*moved), moved)
        assert torch.equal(loss(*plain), loss(*moved))
        for one, wanted in zip(found, expected, strict=True):
            assert torch.equal(one, wanted)
    assert all(counted)


@pytest.mark.parametrize("treated", [0, 12])
def test_an_empty_group_is_a_connected_zero(counted, treated):
    z, mask, phi, y, other = batch(12, 3, torch.float64, treated=treated)
    z.requires_grad_()
    phi.requires_grad_()
    values = (
        losses.wbm(z, mask, phi, logits=True, detach_representation=False),
        losses.escfr_discrepancy(phi, mask, y, other),
    )
    assert counted == [False, False]
    for value, leaf in zip(values, (z, phi), strict=True):
        assert float(value.detach()) == 0.0
        (gradient,) = torch.autograd.grad(value, leaf)
        assert not gradient.any()


def pair(dtype=torch.float64):
    """The two losses of one batch with their leaves."""
    z, treated, phi, y, other = batch(30, 4, dtype)
    leaves = [x.detach().clone().requires_grad_() for x in (z, phi, other)]
    return leaves, {
        "wbm": lambda z, phi, other: losses.wbm(
            z, treated, phi, logits=True, detach_representation=False, epsilon=1.0, tol=1e-12
        ),
        "escfr": lambda z, phi, other: losses.escfr_discrepancy(
            phi, treated, y, other, gamma=0.3, grad="implicit", tol=1e-12
        ),
    }


@pytest.mark.parametrize("name", ["wbm", "escfr"])
def test_a_second_backward_gives_the_same(counted, name):
    leaves, functions = pair()
    value = functions[name](*leaves)
    wanted = leaves[:2] if name == "wbm" else leaves[1:]
    first = torch.autograd.grad(value, wanted, retain_graph=True)
    second = torch.autograd.grad(value, wanted)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(value, wanted)
    assert counted == [True]


@pytest.mark.parametrize("name", ["wbm", "escfr"])
def test_a_change_in_place_is_noticed(name):
    leaves, functions = pair()
    for k in (0, 1) if name == "wbm" else (1, 2):
        moved = [x * 1.0 for x in leaves]
        value = functions[name](*moved)
        with torch.no_grad():
            moved[k].add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


@pytest.mark.parametrize("name", ["wbm", "escfr"])
def test_second_derivatives(monkeypatch, counted, name):
    """They go through the operations of torch, and the first derivatives on that way are the same."""
    leaves, functions = pair()
    used = leaves[:2] if name == "wbm" else leaves[1:]
    loss = functions[name]

    def penalty():
        found = torch.autograd.grad(loss(*leaves), used, create_graph=True)
        return found, sum(x.square().sum() for x in found)

    plain = torch.autograd.grad(loss(*leaves), used)
    first, total = penalty()
    second = torch.autograd.grad(total, used)
    assert all(counted)
    for one, other in zip(plain, first, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-7, atol=1e-10)
    composed(monkeypatch, balancing.fused, "balance_value")
    composed(monkeypatch, escfr, "outcome_value")
    for one, other in zip(second, torch.autograd.grad(penalty()[1], used), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_gradcheck_of_the_gradient():
    z, treated, phi, *_ = batch(9, 2, torch.float64)
    leaves = (z.requires_grad_(), phi.requires_grad_())
    assert torch.autograd.gradgradcheck(
        lambda z, phi: losses.wbm(
            z, treated, phi, logits=True, detach_representation=False, epsilon=2.0, tol=1e-13, max_iter=10_000
        ),
        leaves,
        atol=1e-5,
    )


def test_a_transform_is_left_to_torch(counted):
    leaves, functions = pair()
    (one,) = torch.autograd.grad(functions["wbm"](*leaves), leaves[:1])
    found = torch.func.grad(lambda z: functions["wbm"](z, leaves[1].detach(), None))(leaves[0].detach())
    assert counted == [True, False]
    torch.testing.assert_close(found, one, rtol=1e-7, atol=1e-10)


def test_the_graph_is_freed_without_the_collector():
    leaves, functions = pair()
    gc.disable()
    try:
        for name in functions:
            value = functions[name](*leaves)
            gone = weakref.ref(value.grad_fn)
            del value
            assert gone() is None
    finally:
        gc.enable()


def test_a_solve_that_does_not_converge_warns():
    z, treated, phi, y, other = batch(30, 4, torch.float64)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        losses.wbm(z, treated, phi, logits=True, epsilon=0.01, max_iter=2)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        losses.escfr_discrepancy(phi, treated, y, other, kappa=math.inf, epsilon=0.01, max_iter=2)


def test_collapse_warns():
    z, treated, phi, *_ = batch(30, 4, torch.float64)
    z[treated.nonzero()[0]] = -30.0
    with pytest.warns(BalanceWarning, match=r"of the treated samples is 1\.0 of"):
        losses.wbm(z, treated, phi, logits=True, clip=0.0, epsilon=1.0)


def test_every_set_of_kernels_contracts_alike():
    """Columns beyond whole registers, and rows beyond whole tiles."""
    for n, m, k in ((1, 1, 1), (9, 17, 31), (8, 40, 32), (23, 5, 33)):
        _, _, r, *_ = batch(n + m, k, torch.float64)
        treated = torch.arange(n + m) < n
        r = r.requires_grad_()
        value = losses.escfr_discrepancy(r, treated, gamma=0.0, epsilon=3.0, distance_scale=0.7)
        (found,) = torch.autograd.grad(value, r)
        with torch.no_grad():
            plan = losses.escfr.escfr_transport(r, treated, gamma=0.0, epsilon=3.0, distance_scale=0.7).result.plan
        x, y = r.detach()[:n], r.detach()[n:]
        by_x = 1.4 * (plan.sum(1, keepdim=True) * x - plan @ y)
        by_y = 1.4 * (plan.sum(0)[:, None] * y - plan.mT @ x)
        torch.testing.assert_close(found, torch.cat([by_x, by_y]), rtol=1e-9, atol=1e-11)


def test_large_products_are_left_to_torch(monkeypatch, counted):
    z, treated, phi, *_ = batch(20, 3, torch.float32)
    monkeypatch.setattr(fused, "MOST_OPERATIONS", 100)
    losses.wbm(z, treated, phi, logits=True, epsilon=1.0)
    losses.escfr_discrepancy(phi, treated, gamma=0.0)
    assert counted == [False, False]
