"""First and second derivatives of the registered operators.

``solve_backward`` is the derivative of ``solve``, and an operator with a derivative of its own: that of the formulas of
``reference_gradient.py``, taken only when a second derivative is asked for. ``torch.func`` does not see the derivative
that is registered with an operator; inside its transforms the same functions serve a ``torch.autograd.Function``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext.solver import operators  # noqa: F401  (defines the operators)
from wbm_ext.solver.kernels import computed_in
from wbm_ext.solver.reference.gradient import implicit_gradient
from wbm_ext.solver.reference.iteration import IMPLICIT
from wbm_ext.solver.strength_gradient import envelope_gradient, fixed_point_gradient

Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor]


def pull_back(
    upstream: tuple[Tensor | None, ...],
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None],
    solution: tuple[Tensor, Tensor, Tensor, Tensor],
    options: tuple[int, int, int],
    strengths: bool,
) -> Gradients:
    """Gradients in D, a, b, epsilon and kappa (the last two only for ``strengths``), and the backward's residual.

    ``upstream`` are the gradients on sharp, regularized, f and g (None for 0), ``inputs`` D, a, b, epsilon, kappa, mask
    as the operators take them, ``solution`` f, g, iterations, history, ``options`` reference, gradient, max_iter.
    """
    cost, a, b, epsilon, kappa, mask = inputs
    f, g, iterations, history = solution
    given_type, kind = cost.dtype, computed_in(cost.dtype)
    if strengths:  # their gradients are sums over D's, which 16 bits would round first
        cost = cost.to(kind)
        inputs = (cost, *inputs[1:])
    zeros = (*(torch.zeros_like(cost[:, 0, 0], dtype=kind) for _ in range(2)), torch.zeros_like(f), torch.zeros_like(g))
    given = tuple(z if d is None else d for d, z in zip(upstream, zeros, strict=True))

    def backward(*up: Tensor) -> tuple[Tensor, ...]:
        return solve_backward(*up, *inputs, f, g, iterations, history, *options)

    if not strengths:
        d_cost, d_a, d_b, residual = backward(*given)
        return d_cost, d_a, d_b, None, None, residual
    # the regularised cost on its own: it needs no linear system, and its derivative in epsilon and kappa is another one
    d_cost, d_a, d_b, residual = backward(given[0], zeros[1], given[2], given[3])
    gradients = (d_cost, d_a, d_b)
    d_epsilon, d_kappa = fixed_point_gradient(*gradients, given[0], cost, a, b, epsilon, kappa, mask, f, g, options[0])
    if upstream[1] is not None:
        more = backward(zeros[0], given[1], zeros[2], zeros[3])
        gradients = (d_cost + more[0], d_a + more[1], d_b + more[2])
        e_epsilon, e_kappa = envelope_gradient(given[1], cost, a, b, epsilon, kappa, mask, f, g, options[0])
        d_epsilon, d_kappa = d_epsilon + e_epsilon, d_kappa + e_kappa
    return gradients[0].to(given_type), *gradients[1:], d_epsilon, d_kappa, residual


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cost, a, b, epsilon, kappa, mask, _, kind, _, _, gradient, _, max_iter = inputs
    _, _, f, g, mass, residual, iterations, status, history = output
    ctx.mark_non_differentiable(mass, residual, iterations, status, history)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, a, b, epsilon, kappa, mask, f, g, iterations, history)
    ctx.options = (kind, gradient, max_iter)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    strengths = (ctx.needs_input_grad[3] or ctx.needs_input_grad[4]) and ctx.options[1] == IMPLICIT
    *gradients, _ = pull_back(grads[:4], saved[:6], saved[6:], ctx.options, strengths)
    return *gradients, *[None] * 8


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, _, kind, gradient, _ = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)
    ctx.options = (kind, gradient)


def _differentiate_again(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    kind, gradient = ctx.options
    if gradient != IMPLICIT:
        raise NotImplementedError(
            "the second derivative of grad='unrolled' and grad='frozen' is not available; use grad='implicit'"
        )
    *real, mask, f, g = ctx.saved_tensors

    def first(*tensors: Any) -> tuple[Tensor, Tensor, Tensor]:
        return implicit_gradient(*tensors[:9], mask, *tensors[9:], kind)  # type: ignore[call-arg]

    traced: Any = torch.func.vjp(first, *real, f, g)
    values, vjp = traced
    second = vjp(tuple(torch.zeros_like(v) if d is None else d for d, v in zip(grads[:3], values, strict=True)))
    return *second[:9], None, *second[9:], *[None] * 5


class _Solve(torch.autograd.Function):
    generate_vmap_rule = True
    setup_context = staticmethod(_save)  # type: ignore[assignment]
    backward = staticmethod(_differentiate)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve(*inputs)


class _SolveBackward(torch.autograd.Function):
    generate_vmap_rule = True
    setup_context = staticmethod(_save_backward)  # type: ignore[assignment]
    backward = staticmethod(_differentiate_again)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve_backward(*inputs)


def _inside_func() -> bool:
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def solve(*inputs: Any) -> tuple[Tensor, ...]:
    """The operator ``solve``, differentiable also inside ``torch.func``."""
    return _Solve.apply(*inputs) if _inside_func() else torch.ops.wbm_ext.solve(*inputs)


def solve_backward(*inputs: Any) -> tuple[Tensor, ...]:
    """The operator ``solve_backward``, differentiable also inside ``torch.func``."""
    return _SolveBackward.apply(*inputs) if _inside_func() else torch.ops.wbm_ext.solve_backward(*inputs)


torch.library.register_autograd("wbm_ext::solve", _differentiate, setup_context=_save)
torch.library.register_autograd("wbm_ext::solve_backward", _differentiate_again, setup_context=_save_backward)
