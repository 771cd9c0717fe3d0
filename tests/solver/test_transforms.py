"""The solver under torch.func, autocast, fake tensors, torch.export and torch.compile."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad, jacrev, vmap

import wbm_ext
from problems import random_problem
from wbm_ext import ConvergenceWarning

BATCH = random_problem("unbalanced", 5, 4, batch=(3,), seed=1)
OPTIONS = {"epsilon": 0.4, "kappa": (2.0, 0.5)}


def loss(D, a, b=None, **options):
    return wbm_ext.sinkhorn(D, a, b, **{**OPTIONS, **options})


def gradients(**options):
    """Of the batch, by plain autograd."""
    inputs = [x.clone().requires_grad_() for x in (BATCH.D, BATCH.a, BATCH.b)]
    return torch.autograd.grad(loss(*inputs, **options).sum(), inputs)


def test_vmap_is_the_batch():
    expected = loss(BATCH.D, BATCH.a, BATCH.b)
    assert torch.equal(vmap(loss)(BATCH.D, BATCH.a, BATCH.b), expected)
    assert torch.equal(vmap(loss, (2, 1, 1))(*(x.movedim(0, -1) for x in (BATCH.D, BATCH.a, BATCH.b))), expected)
    shared = vmap(loss, (0, None, None))(BATCH.D, BATCH.a[0], BATCH.b[0])
    assert torch.equal(shared, loss(BATCH.D, BATCH.a[0], BATCH.b[0]))


def test_vmap_over_a_batch_of_batches_masks_and_strengths():
    D = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(vmap(vmap(wbm_ext.sinkhorn))(D), wbm_ext.sinkhorn(D))  # default ε and masses
    assert torch.equal(vmap(wbm_ext.sinkhorn)(D), wbm_ext.sinkhorn(D))
    mask = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.8

    def masked(D, mask, epsilon, kappa):
        return wbm_ext.sinkhorn(D, epsilon=epsilon, kappa=kappa, mask=mask)

    epsilon, kappa = torch.tensor([0.3, 0.5]), torch.tensor([1.0, 2.0])
    expected = masked(D, mask, epsilon[:, None], kappa[:, None])
    assert torch.equal(vmap(masked)(D, mask, epsilon, kappa), expected)


@pytest.mark.parametrize("options", [{}, {"cost": "regularized"}, {"grad": "unrolled"}, {"grad": "frozen"}], ids=str)
def test_grad_and_vmap_compose(options):
    expected = gradients(**options)
    arguments = (BATCH.D, BATCH.a, BATCH.b)

    def one(*x):
        return loss(*x, **options)

    for got in (
        vmap(grad(one, (0, 1, 2)))(*arguments),
        grad(lambda *x: vmap(one)(*x).sum(), (0, 1, 2))(*arguments),
        grad(lambda *x: one(*x).sum(), (0, 1, 2))(*arguments),
    ):
        for x, y in zip(got, expected, strict=True):
            torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-10)


def test_jacrev_of_the_plan_and_of_the_gradient():
    D, a, b = (x[0] for x in (BATCH.D, BATCH.a, BATCH.b))

    def plan(D):
        return wbm_ext.solve(D, a, b, tol=1e-12, **OPTIONS).plan

    torch.testing.assert_close(jacrev(plan)(D), torch.autograd.functional.jacobian(plan, D))

    def value(D):
        return loss(D, a, b, tol=1e-12)

    hessian = jacrev(jacrev(value))(D)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(value, D))


def test_per_sample_gradient_in_epsilon():
    def value(epsilon, D):
        return wbm_ext.sinkhorn(D, epsilon=epsilon)

    epsilon = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64)
    leaf = epsilon.clone().requires_grad_()
    value(leaf, BATCH.D).sum().backward()
    torch.testing.assert_close(vmap(grad(value))(epsilon, BATCH.D), leaf.grad)


def test_refused_and_unconverged_problems_are_reported_inside_transforms():
    broken = BATCH.D.clone()
    broken[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"torch\.func was refused: D holds NaN"):
        vmap(loss)(broken, BATCH.a)
    with pytest.raises(ValueError, match="totals of a and b differ"):
        grad(lambda D: wbm_ext.sinkhorn(D, BATCH.a[0], BATCH.b[0]))(BATCH.D[0])
    with pytest.warns(ConvergenceWarning, match="3 of 3 problems") as seen:
        vmap(lambda D: wbm_ext.sinkhorn(D, epsilon=0.01, max_iter=2))(BATCH.D)
    assert seen[0].filename == __file__


@pytest.mark.parametrize("short", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float32(short):
    D, a, b = BATCH.D.to(short), BATCH.a.float(), BATCH.b.to(short)
    expected = loss(D.float(), a, b.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(D, a, b)
        leaf = BATCH.D.float().requires_grad_()
        loss(leaf * 1.0, a, b).sum().backward()  # a float32 D beside 16-bit masses
        registered = torch.ops.wbm_ext.mean_cost(D, a, b, None)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)
    assert leaf.grad.dtype == torch.float32
    assert torch.equal(registered, torch.ops.wbm_ext.mean_cost(D.float(), a, b.float(), None))
    with pytest.raises(TypeError, match=r"b must be torch\.float32"):
        loss(D, a, b)  # outside autocast a 16-bit mass is a mistake


def test_the_cost_of_a_matrix_product_under_autocast():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, generator=rng).requires_grad_(), torch.randn(5, 3, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        D = (x @ y.T).square()
        assert D.dtype == torch.bfloat16
        wbm_ext.sinkhorn(D, epsilon=1.0).backward()
    assert bool(x.grad.isfinite().all())
    assert bool(x.grad.any())


def test_fake_and_meta_tensors_have_the_shapes():
    inputs = (BATCH.D, BATCH.a, BATCH.b)
    real = wbm_ext.solve(*inputs, kappa=1.0)
    with FakeTensorMode():
        fake = wbm_ext.solve(*(torch.empty(x.shape, dtype=x.dtype) for x in inputs), kappa=1.0)
    meta = wbm_ext.solve(*(x.to("meta") for x in inputs), kappa=1.0)
    for other in (fake, meta):
        for name in ("cost", "regularized_cost", "f", "g", "plan", "residual", "iterations", "status", "epsilon"):
            x, y = getattr(real, name), getattr(other, name)
            assert (x.shape, x.dtype) == (y.shape, y.dtype), name


def test_deterministic_algorithms_are_kept():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        D = BATCH.D.clone().requires_grad_()
        (first,) = torch.autograd.grad(loss(D, BATCH.a).sum(), D, create_graph=True)
        first.square().sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)
    assert bool(D.grad.isfinite().all())


class Discrepancy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x, y):
        return wbm_ext.sinkhorn(wbm_ext.losses.squared_distances(self.layer(x), y), epsilon=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_export_of_a_module_keeps_the_operator(strict):
    torch.manual_seed(0)
    module, x, y = Discrepancy(), torch.rand(6, 3), torch.rand(5, 2)
    sizes = {"x": {0: torch.export.Dim("n", min=2, max=100)}, "y": None}
    program = torch.export.export(module, (x, y), strict=strict, dynamic_shapes=sizes)
    assert any("wbm_ext.solve" in str(node.target) for node in program.graph.nodes)
    for n in (6, 9):
        x = torch.rand(n, 3)
        torch.testing.assert_close(program.module()(x, y), module(x, y))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("default", [False, True], ids=["epsilon given", "default epsilon, plan"])
def test_compiled_whole_with_its_backward(dynamic, default):
    def value(D, a):
        if default:
            return wbm_ext.solve(D.square(), a, kappa=1.0).plan.square().sum()
        return wbm_ext.sinkhorn(D.square(), a, epsilon=0.5, kappa=1.0).sum()

    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for n, m in ((5, 4), (7, 3)) if dynamic else ((5, 4),):
        p = random_problem("unbalanced", n, m, seed=n)
        found = []
        for function in (value, compiled):
            inputs = [x.clone().requires_grad_() for x in (p.D, p.a)]
            result = function(*inputs)
            found.append((result.detach(), *torch.autograd.grad(result, inputs)))
        for x, y in zip(*found, strict=True):
            torch.testing.assert_close(x, y)


def test_nothing_warns_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(grad(loss))(BATCH.D, BATCH.a)
