"""Tensors of every kind come to the kernels as the values that they stand for, or are refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import wbm_ext
from problems import generator, random_problem

P = random_problem("unbalanced", 6, 5, seed=4)
OPTIONS = {"epsilon": 0.4, "kappa": (2.0, 0.5)}
NAMES = ("D", "a", "b", "epsilon", "kappa", "init")


def lazily_negated(x: Tensor) -> Tensor:
    """x as the imaginary part of a conjugate: its memory holds -x."""
    made = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert made.is_neg()
    return made


def arguments() -> dict[str, Tensor]:
    one = torch.tensor(0.4, dtype=torch.float64)
    start = torch.rand(5, generator=generator(0), dtype=torch.float64)
    return {"D": P.D, "a": P.a, "b": P.b, "epsilon": one, "kappa": 3 * one, "init": start}


def call(values: dict[str, Tensor], **more) -> Tensor:
    start = values.get("init")
    rest = {k: v for k, v in values.items() if k != "init"}
    return wbm_ext.sinkhorn(**rest, init=None if start is None else (None, start), **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_lazily_negated_argument_is_read_negated(name):
    values = arguments()
    expected = call(values, tol=0.0, max_iter=3)
    values[name] = lazily_negated(values[name])
    torch.testing.assert_close(call(values, tol=0.0, max_iter=3), expected, rtol=1e-14, atol=0)


def test_a_lazily_negated_column_of_costs_is_read_negated():
    D = torch.complex(torch.zeros(3, 1), -torch.tensor([[1.0], [2.0], [3.0]])).conj().imag
    assert float(wbm_ext.sinkhorn(D, epsilon=1.0)) == pytest.approx(2.0)


@pytest.mark.parametrize("grad", ["implicit", "unrolled", "frozen"])
def test_lazily_negated_and_implied_zero_upstream_gradients(grad):
    D = P.D.clone().requires_grad_()
    result = wbm_ext.solve(D, P.a, P.b, grad=grad, **OPTIONS)
    for output in (result.cost, result.regularized_cost, result.f):
        up = torch.rand(output.shape, generator=generator(1), dtype=torch.float64) + 0.5
        (expected,) = torch.autograd.grad(output, D, up, retain_graph=True)
        (got,) = torch.autograd.grad(output, D, lazily_negated(up), retain_graph=True)
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
        nothing = torch._efficientzerotensor(output.shape, dtype=torch.float64)
        (zero,) = torch.autograd.grad(output, D, nothing, retain_graph=True)
        assert not bool(zero.any())


@pytest.mark.native
@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_without_memory_is_no_default(name):
    values = {k: v.clone() for k, v in arguments().items()}
    if name in ("epsilon", "kappa"):  # read as numbers where they are single ones
        values["D"], values[name] = P.D[None], values[name].expand(1).clone()
    values[name].untyped_storage().resize_(0)
    with pytest.raises((ValueError, RuntimeError), match=r"has no memory|storage"):
        call(values)


@pytest.mark.parametrize("name", [*NAMES, "mask"])
@pytest.mark.parametrize("layout", ["sparse", "nested"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_sparse_and_nested_tensors_are_refused_by_name(name, layout):
    values = {**arguments(), "mask": torch.ones(6, 5, dtype=torch.bool)}
    x = values[name]
    values[name] = x.to_sparse() if layout == "sparse" else torch.nested.nested_tensor([x, x])
    shown = r"init\[1\] \(g\)" if name == "init" else name
    with pytest.raises(TypeError, match=f"^{shown} must be a dense tensor, got "):
        call(values)


def test_a_cost_of_zeros_has_value_and_gradient_of_points_zero():
    """All points are one: the default epsilon has no scale to go by, and every plan costs nothing."""
    for shape, dtype in (((4, 3), torch.float32), ((2, 4, 3), torch.float64)):
        x = torch.zeros(*shape, dtype=dtype, requires_grad=True)
        D = wbm_ext.losses.squared_distances(x, torch.zeros(*shape, dtype=dtype))
        value = wbm_ext.sinkhorn(D)
        assert not bool(value.any())
        (gradient,) = torch.autograd.grad(value.sum(), x)
        assert not bool(gradient.any())
        assert bool(wbm_ext.solve(D).epsilon.eq(0.05).all())


def test_a_batch_that_collapses_in_part_is_solved_in_all():
    D = torch.rand(3, 4, 4, generator=generator(2))
    D[1] = 0.0
    value = wbm_ext.sinkhorn(D, kappa=1.0)
    assert float(value[1]) == 0.0
    torch.testing.assert_close(value[[0, 2]], wbm_ext.sinkhorn(D[[0, 2]], kappa=1.0))
    with pytest.raises(ValueError, match="positive mean"):
        wbm_ext.sinkhorn(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def test_two_point_clouds_are_told_what_to_call():
    with pytest.raises(ValueError, match=r"squared_distances\(x, y\), or call wbm_ext\.losses\.sinkhorn_divergence"):
        wbm_ext.sinkhorn(torch.rand(5, 2), torch.rand(4, 2))


def test_the_help_of_sinkhorn_has_every_parameter_as_solve_has_it():
    def parameters(function) -> dict[str, str]:
        text = function.__doc__.split("----------\n", 1)[1].split("\n    Returns", 1)[0]
        found: dict[str, str] = {}
        for line in text.splitlines():
            if line.strip() and not line.startswith(" " * 8):
                name = line.split(" : ")[0].strip()
                found[name] = ""
            else:
                found[name] += line
        return found

    solve, sinkhorn = parameters(wbm_ext.solve), parameters(wbm_ext.sinkhorn)
    del sinkhorn["cost"]
    del sinkhorn["reference"], solve["reference"]
    assert solve == sinkhorn
    documented = {part for name in parameters(wbm_ext.sinkhorn) for part in name.split(", ")}
    assert documented == set(wbm_ext.sinkhorn.__annotations__) - {"return"}
