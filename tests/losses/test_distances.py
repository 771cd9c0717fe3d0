"""Squared distances are right to rounding wherever the points lie, and with them every loss that is built on them."""

from __future__ import annotations

import math

import pytest
import torch

from wbm_ext import losses
from wbm_ext.losses.distances import _torch_backward, _torch_forward

EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def moved(x, y, place):
    """The points at another place or scale, or with an outlier among them."""
    kind, size = place
    if kind == "outlier in x":
        x[1] = size
    elif kind == "outlier in y":
        y[0] = -size
    elif kind == "scale":
        x, y = x * size, y * size
    elif kind == "shift":
        x, y = x + size, y + size
    elif kind == "clusters":
        x[::2] += size
        y[::3] += size
        x[1::4, 0] -= size / 3
    elif kind == "coincide":
        y[: len(x)] = x[: len(y)]
    return x, y


PLACES = [
    ("as they are", 1.0),
    *(("outlier in x", s) for s in (1e4, 1e8, 1e15)),
    *(("outlier in y", s) for s in (1e4, 1e8, 1e15)),
    *(("scale", s) for s in (1e-6, 1e6)),
    *(("shift", s) for s in (1e3, 1e6)),
    *(("clusters", s) for s in (1e3, 1e6)),
    ("coincide", 0.0),
]


def exact(x, y):
    difference = x.double()[:, None] - y.double()[None]
    return difference, difference.square().sum(-1)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m", "k"), [(2, 2, 1), (12, 9, 2), (25, 41, 5), (40, 70, 33)])
def test_each_entry_and_each_gradient_is_right_to_rounding(n, m, k, dtype, place):
    x, y = moved(rand(n, k), rand(m, k, seed=1) + 0.3, place)
    x, y = x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()
    if dtype == torch.float64:  # the oracle has no more digits than this: differences alone
        difference = x.detach()[:, None] - y.detach()[None]
        true = difference.square().sum(-1)
    else:
        difference, true = exact(x.detach(), y.detach())
    D = losses.squared_distances(x, y)
    assert ((D.double() - true).abs() <= 8 * EPS[dtype] * true).all()

    W = rand(n, m, seed=2).to(dtype)
    found = torch.autograd.grad((W * D).sum(), (x, y))
    weighted = 2 * W.double()[..., None] * difference
    for gradient, terms, side in ((found[0], weighted, 1), (found[1], -weighted, 0)):
        error = (gradient.double() - terms.sum(side)).abs()
        assert (error <= 24 * EPS[dtype] * terms.abs().sum(side)).all()


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_plain_torch_says_the_same(place):
    x, y = (z.float() for z in moved(rand(14, 7), rand(19, 7, seed=1), place))
    W = rand(14, 19, seed=2).float()
    leaves = x.clone().requires_grad_(), y.clone().requires_grad_()
    D = losses.squared_distances(*leaves)
    torch.testing.assert_close(_torch_forward(x[None], y[None])[0], D.detach(), rtol=2e-6, atol=0)
    found = torch.autograd.grad((W * D).sum(), leaves)
    for one, other in zip(found, _torch_backward(W[None], x[None], y[None]), strict=True):
        torch.testing.assert_close(one, other[0], rtol=1e-5, atol=1e-5 * float(one.abs().median()))


def test_transforms_take_the_same_distances():
    x, y = rand(3, 8, 4), rand(3, 6, 4, seed=1)
    y[0, 0] = 1e8
    expected = torch.stack([losses.squared_distances(a, b) for a, b in zip(x, y, strict=True)])
    assert torch.equal(losses.squared_distances(x, y), expected)
    assert torch.equal(torch.func.vmap(losses.squared_distances)(x, y), expected)
    assert torch.equal(torch.func.vmap(losses.squared_distances, (0, None))(x, y[1])[1], expected[1])

    def loss(a, b):
        return losses.squared_distances(a, b).sqrt().sum()

    a, b = x[1].clone().requires_grad_(), y[1].clone().requires_grad_()
    gradient = torch.autograd.grad(loss(a, b), (a, b))
    for one, other in zip(gradient, torch.func.grad(loss, (0, 1))(x[1], y[1]), strict=True):
        torch.testing.assert_close(one, other)
    forward = torch.func.jacfwd(loss, (0, 1))(x[1], y[1])
    for one, other in zip(gradient, forward, strict=True):
        torch.testing.assert_close(one, other)
    mapped = torch.func.vmap(torch.func.grad(loss))(x, y)
    torch.testing.assert_close(mapped[1], gradient[0])
    hessian = torch.func.hessian(loss)(x[1], y[1])
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(lambda z: loss(z, y[1]), x[1]))


def test_first_and_second_derivatives_against_finite_differences():
    leaves = rand(5, 3).requires_grad_(), rand(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(losses.squared_distances, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(losses.squared_distances, leaves)


def test_the_compiler_takes_the_operator():
    x, y = rand(10, 5).float(), rand(7, 5, seed=1).float()
    y[0] = 1e8
    compiled = torch.compile(losses.squared_distances, backend="aot_eager", fullgraph=True)
    leaf = x.clone().requires_grad_()
    D = compiled(leaf, y)
    assert torch.equal(D.detach(), losses.squared_distances(x, y))
    D[:, 1:].sum().backward()
    plain = x.clone().requires_grad_()
    losses.squared_distances(plain, y)[:, 1:].sum().backward()
    assert torch.equal(leaf.grad, plain.grad)
    torch.library.opcheck(torch.ops.wbm_ext.squared_distances.default, (leaf[None], y[None]))


def groups(x, y):
    return torch.cat([x, y]), torch.arange(len(x) + len(y)) < len(x)


LOSSES = {
    "rmpr": lambda x, y: losses.rmpr(x, y, kappa=1.0),
    "rmpr, product": lambda x, y: losses.rmpr(x, y, kappa=1.0, epsilon=0.1, reference="product"),
    "wbm": lambda x, y: losses.wbm(
        x.new_full((len(x) + len(y),), 0.5), groups(x, y)[1], groups(x, y)[0], epsilon=0.1, detach_representation=False
    ),
    "balance": lambda x, y: (
        losses.balance(
            x.new_full((len(x) + len(y),), 0.5),
            groups(x, y)[1],
            groups(x, y)[0],
            epsilon=0.1,
            detach_representation=False,
        ).value
    ),
    "escfr": lambda x, y: losses.escfr_discrepancy(*groups(x, y), gamma=0.0, distance_scale=0.7),
    "escfr with outcomes": lambda x, y: losses.escfr_discrepancy(
        *groups(x, y), x.new_zeros(len(x) + len(y)), groups(x, y)[0][:, 0] * 1.5, gamma=0.3
    ),
    "escfr_transport": lambda x, y: (
        losses.escfr_transport(
            *groups(x, y), x.new_zeros(len(x) + len(y)), groups(x, y)[0][:, 0] * 1.5, gamma=0.3
        ).value
    ),
    "divergence": lambda x, y: losses.sinkhorn_divergence(x, y, epsilon=0.1),
    "mmd": lambda x, y: losses.mmd(x, y, bandwidth=1.0),
    "mmd, median": losses.mmd,
}


NEAR = [p for p in PLACES if p[0] == "shift" or (p[0] not in ("scale", "coincide") and p[1] <= 1e4)]
FAR = [("outlier in x", 1e8), ("outlier in y", 1e8), ("clusters", 1e6)]
RELAXED = ("rmpr", "rmpr, product", "escfr", "escfr with outcomes", "escfr_transport", "mmd")  # leave an outlier behind


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, place) for name in LOSSES for place in NEAR),
        *((name, place) for name in RELAXED for place in FAR),
        *(("mmd, median", ("scale", size)) for size in (1e-6, 1e6)),
    ],
    ids=str,
)
def test_float32_losses_are_those_of_float64(name, place):
    """Wherever the points lie: the value, and the gradient in the points that are not far away."""
    pair = tuple(z.float() for z in moved(rand(12, 2), rand(9, 2, seed=1) + 0.3, place))
    found = {}
    for dtype in (torch.float32, torch.float64):
        leaves = [z.to(dtype).requires_grad_() for z in pair]
        value = LOSSES[name](*leaves)
        found[dtype] = (value.detach().double(), [g.double() for g in torch.autograd.grad(value, leaves)])
    (value, gradients), (expected, wanted) = found[torch.float32], found[torch.float64]
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        size = other.norm(dim=-1)
        assert ((one - other).norm(dim=-1) <= 2e-2 * size + 2e-3 * size.median()).all()


@pytest.mark.parametrize("filler", [-9999.0, 1e8, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["rmpr", "divergence", "mmd", "mmd, linear", "difference of means"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_of_mass_zero_changes_nothing(dtype, name, filler):
    """Neither value nor gradient, whatever stands in it; as a first, a middle and a last point, on either side."""
    functions = {
        "rmpr": lambda *s: losses.rmpr(*s, kappa=1.0),
        "divergence": losses.sinkhorn_divergence,
        "mmd": losses.mmd,
        "mmd, linear": lambda *s: losses.mmd(*s, kernel="linear"),
        "difference of means": losses.linear_discrepancy,
    }
    x, y = rand(12, 2).to(dtype), (rand(9, 2, seed=1) + 0.3).to(dtype)

    def measured(x, y, a, b):
        leaves = [z.clone().requires_grad_() for z in (x, y)]
        value = functions[name](*leaves, a, b)
        return value.detach(), torch.autograd.grad(value, leaves)

    a, b = x.new_full((12,), 1 / 12), y.new_full((9,), 1 / 9)
    value, gradients = measured(x, y, a, b)

    def padded(points, mass, at):
        points, mass = points.tolist(), mass.tolist()
        for place in sorted(at):
            points.insert(place, [filler, 0.5])
            mass.insert(place, 0.0)
        keep = [i for i in range(len(points)) if i not in at]
        return torch.tensor(points, dtype=dtype), torch.tensor(mass, dtype=dtype), keep

    x, a, rows = padded(x, a, {0, 5, 13})
    y, b, columns = padded(y, b, {9})
    found, others = measured(x, y, a, b)
    rtol = 1e-4 if dtype == torch.float32 else 1e-5
    torch.testing.assert_close(found, value, rtol=rtol, atol=1e-6)
    for one, other, members in zip(others, gradients, (rows, columns), strict=True):
        torch.testing.assert_close(one[members], other, rtol=50 * rtol, atol=1e-5)
        outside = [i for i in range(len(one)) if i not in members]
        assert (one[outside] == 0).all()


def test_a_mapped_loss_takes_padding_too():
    x, y = rand(2, 6, 2), rand(2, 5, 2, seed=1)
    a, b = torch.full((2, 6), 1 / 5), torch.full((2, 5), 1 / 5)
    x[:, 2], a[:, 2] = math.nan, 0.0
    found = torch.func.vmap(lambda *s: losses.rmpr(*s, epsilon=0.1))(x, y, a.double(), b.double())
    keep = [0, 1, 3, 4, 5]
    expected = losses.rmpr(x[:, keep], y, a[:, keep].double(), b.double(), epsilon=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_a_nan_point_with_mass_stays_a_nan():
    phi = torch.zeros(6, 2)
    phi[5, 1] = math.nan
    D = losses.squared_distances(phi[:3], phi[3:])
    assert D[:, 2].isnan().all()
    assert (D[:, :2] == 0).all()
