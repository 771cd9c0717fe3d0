"""What a backward saves and needs: the derivatives of a solve, first, second and forward.

Three ways lead to the kernels:

* eager calls, by one ``torch.autograd.Function`` around the crossing, without the dispatch of operators, so that a call
  costs microseconds;
* what looks into a call (``torch.compile``, ``torch.export``, ``torch.func``, forward mode, fake tensors), by the
  registered operators;
* second derivatives, by the operator ``solve_backward``, whose own derivative is that of the formulas of
  ``reference/gradient.py``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from wbm_ext.errors import ConvergenceWarning, warn_once
from wbm_ext.solver import kernels, operators  # noqa: F401  (operators: defines them)
from wbm_ext.solver.checks import is_followed
from wbm_ext.solver.kernels import EVERYTHING, Unsolved, Wanted
from wbm_ext.solver.problem import (
    FROZEN,
    IMPLICIT,
    UNROLLED,
    Options,
    Problem,
    Solution,
    Upstream,
    computed_in,
    found_at,
)
from wbm_ext.solver.reference.gradient import implicit_gradient
from wbm_ext.solver.reference.iteration import view
from wbm_ext.solver.result import Adjoint
from wbm_ext.solver.status import raise_or_warn, raise_or_warn_inside_func
from wbm_ext.solver.strength_gradient import envelope_gradient, fixed_point_gradient

FAITHFUL = 1e-6  # residual of the backward's linear system that is never warned of

Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor]
Tangents = tuple[Tensor | None, ...]


def warn_of_backward(largest: float, limit: float) -> None:
    """ConvergenceWarning for a backward whose linear system was solved to ``largest`` > ``limit``."""
    warn_once(
        ConvergenceWarning(
            f"the backward's linear system was solved to a relative residual of {largest:.2e} > {limit:.0e} only, and "
            "the gradient is as inexact; raise epsilon, or use float64"
        )
    )


class _Call:
    """What goes through a solve's autograd function beside tensors: how to solve, and what comes back."""

    __slots__ = ("adjoint", "mask", "options", "read", "reference", "solution", "unsolved", "wanted")

    def __init__(self, problem: Problem, options: Options, wanted: Wanted, read: bool, adjoint: Adjoint) -> None:
        self.mask, self.reference = problem.mask, problem.reference
        self.options, self.wanted, self.read, self.adjoint = options, wanted, read, adjoint
        self.solution: Any = None
        self.unsolved: Unsolved | None = None


class _Eager(torch.autograd.Function):
    """A solve outside every transform: sharp, regularized, f and g of a problem as it was given."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        D, a, b, epsilon, kappa, call = inputs
        problem, options = Problem(D, a, b, epsilon, kappa, call.mask, call.reference), call.options
        save = options.gradient == IMPLICIT
        call.solution, call.unsolved, saved_plans = kernels.solve(problem, options, call.wanted, save, call.read)
        ctx.set_materialize_grads(False)
        _, _, f, g, _, _, iterations, _, history, used = call.solution
        ctx.call = (
            epsilon, kappa, call.reference, options.gradient, options.max_iter, saved_plans, call.adjoint,
            max(options.tol, FAITHFUL) if call.read else None,
        )  # fmt: skip
        if epsilon is None:
            epsilon = used
        ctx.save_for_backward(
            D, a, b, epsilon if isinstance(epsilon, Tensor) else None, kappa if isinstance(kappa, Tensor) else None,
            call.mask, f, g, iterations, history,
        )  # fmt: skip
        return call.solution[:4]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        D, a, b, epsilon, kappa, mask, f, g, iterations, history = ctx.saved_tensors
        given_epsilon, given_kappa, reference, mode, max_iter, saved_plans, adjoint, limit = ctx.call
        problem = Problem(
            D, a, b, given_epsilon if epsilon is None else epsilon, given_kappa if kappa is None else kappa, mask,
            reference,
        )  # fmt: skip
        solution = found_at(f, g, iterations, history)
        needs, upstream = ctx.needs_input_grad, Upstream(*grads)
        if needs[3] or needs[4] or torch.is_grad_enabled() or is_followed(*grads):
            return _by_operators(ctx, problem, solution, upstream, mode, max_iter)
        found, largest = kernels.gradient(problem, solution, upstream, mode, max_iter, needs[:3], saved_plans)
        d_D, d_a, d_b, adjoint.residual = found
        _judge_backward(adjoint.residual, largest, limit)
        return d_D if needs[0] else None, d_a if needs[1] else None, d_b if needs[2] else None, None, None, None


def _judge_backward(residual: Tensor, largest: float | None, limit: float | None) -> None:
    """Warn where the linear systems were not solved to the limit; None: their residuals are not to be read."""
    if limit is None:
        return
    if largest is None:
        largest = float(residual.nan_to_num(0.0).max()) if residual.numel() else 0.0
    if largest > limit:
        warn_of_backward(largest, limit)


def _by_operators(
    ctx: Any, problem: Problem, solution: Solution, upstream: Upstream, mode: int, max_iter: int
) -> tuple[Tensor | None, ...]:
    """The backward in operations that can be differentiated again, batched, and give the gradient in strengths."""
    given, needs, lead = problem[:5], ctx.needs_input_grad, problem.D.shape[:-2]
    problem = problem.batched()
    count = len(problem.D)

    def batched(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.reshape((count, *x.shape[len(lead) :]))

    f, g, iterations, history = batched(solution.f), batched(solution.g), batched(solution.iterations), solution.history
    saved = (cast("Tensor", f), cast("Tensor", g), iterations, history)
    strengths = (needs[3] or needs[4]) and mode == IMPLICIT
    *gradients, residual = pull_back(Upstream(*map(batched, upstream)), problem, saved, mode, max_iter, strengths)
    if not is_followed(residual):
        residual = residual.detach()
        *_, adjoint, limit = ctx.call
        adjoint.residual = residual.reshape(lead)
        _judge_backward(residual, None, limit)
    return *[
        d.reshape(x.shape) if needed and d is not None and isinstance(x, Tensor) else None
        for d, x, needed in zip(gradients, given, needs[:5], strict=True)
    ], None  # fmt: skip


def pull_back(
    upstream: Upstream,
    problem: Problem,
    solution: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    mode: int,
    max_iter: int,
    strengths: bool,
) -> Gradients:
    """Gradients in D, a, b, epsilon and kappa (the last two only for ``strengths``), and the backward's residual.

    ``solution`` are f, g, and for the unrolled mode iterations and history; every value has its batch dimension.
    """
    f, g, *_ = solution
    D = problem.D
    kind = computed_in(D.dtype)
    if strengths:  # their gradients are sums over D's, which 16 bits would round first
        problem = problem._replace(D=D.to(kind))
    zeros = (*(torch.zeros_like(D[:, 0, 0], dtype=kind) for _ in range(2)), torch.zeros_like(f), torch.zeros_like(g))
    given = tuple(z if u is None else u for u, z in zip(upstream, zeros, strict=True))

    def backward(*up: Tensor) -> tuple[Tensor, ...]:
        return solve_backward(*up, *problem, *solution, mode, max_iter)

    if not strengths:
        d_D, d_a, d_b, residual = backward(*given)
        return d_D, d_a, d_b, None, None, residual
    # the regularised cost on its own: it needs no linear system, and its derivative in epsilon and kappa is another one
    d_D, d_a, d_b, residual = backward(given[0], zeros[1], given[2], given[3])
    gradients = (d_D, d_a, d_b)
    d_epsilon, d_kappa = fixed_point_gradient(*gradients, given[0], problem, f, g)
    if upstream.regularized is not None:
        more = backward(zeros[0], given[1], zeros[2], zeros[3])
        gradients = (d_D + more[0], d_a + more[1], d_b + more[2])
        e_epsilon, e_kappa = envelope_gradient(given[1], problem, f, g)
        d_epsilon, d_kappa = d_epsilon + e_epsilon, d_kappa + e_kappa
    epsilon, kappa = cast("Tensor", problem.epsilon), cast("Tensor", problem.kappa)
    return (
        gradients[0].to(D.dtype), gradients[1], gradients[2],
        d_epsilon.to(epsilon.dtype), d_kappa.to(kappa.dtype), residual,
    )  # fmt: skip


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    problem, options, solution = Problem(*inputs[:7]), Options(*inputs[7:]), Solution(*output)
    ctx.set_materialize_grads(False)
    *data, epsilon, kappa, mask, reference = problem
    epsilon = solution.epsilon if epsilon is None else epsilon
    path = (solution.iterations, solution.history) if options.gradient == UNROLLED else (None, None)
    tensors = (*data, epsilon, kappa, mask, solution.f, solution.g, *path)
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.options = (reference, options.gradient, options.max_iter)


def _save_registered(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    # Under vmap torch forgets this mark in a function with a forward mode, which returns zeros in its place.
    ctx.mark_non_differentiable(*output[4:])
    _save(ctx, inputs, output)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    D, a, b, epsilon, kappa, mask, f, g, iterations, history = ctx.saved_tensors
    reference, mode, max_iter = ctx.options
    strengths = (ctx.needs_input_grad[3] or ctx.needs_input_grad[4]) and mode == IMPLICIT
    problem, solution = Problem(D, a, b, epsilon, kappa, mask, reference), (f, g, iterations, history)
    d_D, d_a, d_b, d_epsilon, d_kappa, _ = pull_back(Upstream(*grads[:4]), problem, solution, mode, max_iter, strengths)
    return d_D, d_a, d_b, d_epsilon if ctx.needs_input_grad[3] else None, d_kappa, *[None] * 8


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, reference, f, g, _, _, mode, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, f, g)
    ctx.save_for_forward(*tensors, f, g)
    ctx.options = (reference, mode)


def _first_derivative(ctx: Any) -> tuple[Any, list[Tensor]]:
    """The implicit gradient as a function of the tensors that it depends on, and these."""
    reference, mode = ctx.options
    if mode != IMPLICIT:
        raise NotImplementedError(
            "the second derivative of grad='unrolled' and grad='frozen' is not available; use grad='implicit'"
        )
    *real, mask, f, g = ctx.saved_tensors

    def first(*tensors: Tensor) -> tuple[Tensor, ...]:
        upstream, (D, a, b, epsilon, kappa, f, g) = Upstream(*tensors[:4]), tensors[4:]
        return implicit_gradient(upstream, Problem(D, a, b, epsilon, kappa, mask, reference), f, g)[:3]

    return first, [*real, f, g]


def _differentiate_again(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    first, tensors = _first_derivative(ctx)
    traced: Any = torch.func.vjp(first, *tensors)
    values, vjp = traced
    second = vjp(tuple(torch.zeros_like(v) if d is None else d for d, v in zip(grads[:3], values, strict=True)))
    return *second[:9], None, None, *second[9:], *[None] * 4


def _forward_levels() -> int:
    """How many times forward mode is nested here."""
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return sum(level.key() == torch._C._functorch.TransformType.Jvp for level in stack)


def push_forward(tangents: Tangents, problem: Problem, f: Tensor, g: Tensor, mode: int) -> tuple[Tensor, ...]:
    """Derivatives of sharp, regularized, f and g along tangents of D, a, b, epsilon and kappa (None: 0).

    The implicit gradient is linear in what is upstream, and this is its transpose: one linear system, again.
    """
    if _forward_levels() > 1:
        raise NotImplementedError(
            "torch follows one level of forward mode through a function with a rule of its own; of second derivatives "
            "take jacfwd(jacrev(...)), jacrev(jacfwd(...)) or jacrev(jacrev(...))"
        )
    D = problem.D
    cost = torch.zeros(len(D), dtype=computed_in(D.dtype), device=D.device)
    upstream = (cost, cost, torch.zeros_like(f), torch.zeros_like(g))
    if mode == UNROLLED:
        raise NotImplementedError("forward mode is not available for grad='unrolled'; use grad='implicit'")
    if mode == FROZEN:
        along = torch.zeros_like(D) if tangents[0] is None else tangents[0]
        change = (view(problem).plan(f, g)[0] * along).sum((1, 2)).to(cost.dtype)
        return change, change, *upstream[2:]
    strengths = tangents[3] is not None or tangents[4] is not None

    def pull(*up: Tensor) -> tuple[Tensor, ...]:
        if not strengths:
            return implicit_gradient(Upstream(*up), problem, f, g)[:3]
        sharp, regularized, q_f, q_g = up
        d = implicit_gradient(Upstream(sharp, cost, q_f, q_g), problem, f, g)[:3]
        e = implicit_gradient(Upstream(cost, regularized, *upstream[2:]), problem, f, g)[:3]
        d_strengths = fixed_point_gradient(d[0], d[1], d[2], sharp, problem, f, g)
        e_strengths = envelope_gradient(regularized, problem, f, g)
        return tuple(x + y for x, y in zip((*d, *d_strengths), (*e, *e_strengths), strict=True))

    traced: Any = torch.func.vjp(pull, *upstream)
    values, transpose = traced
    given = zip(tangents, values, strict=False)
    return transpose(tuple(torch.zeros_like(v) if x is None else x.to(v.dtype) for x, v in given))


class _Solve(torch.autograd.Function):
    """The operator ``solve`` for ``torch.func``, which does not see the derivative registered with an operator."""

    generate_vmap_rule = True
    setup_context = staticmethod(_save)  # type: ignore[assignment]
    backward = staticmethod(_differentiate)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        D, a, b, epsilon, kappa, mask, f, g, _, history = ctx.saved_tensors
        reference, mode, _ = ctx.options
        problem = Problem(D, a, b, epsilon, kappa, mask, reference)
        costs_and_potentials = push_forward(tangents[:5], problem, f, g, mode)
        zero = torch.zeros_like(problem.D[:, 0, 0], dtype=torch.float64)
        path = D.new_zeros((0,) if history is None else history.shape, dtype=torch.float64)
        return *costs_and_potentials, zero, zero, None, None, path, zero


class _SolveBackward(torch.autograd.Function):
    """The operator ``solve_backward`` for ``torch.func``."""

    generate_vmap_rule = True
    setup_context = staticmethod(_save_backward)  # type: ignore[assignment]
    backward = staticmethod(_differentiate_again)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve_backward(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        first, tensors = _first_derivative(ctx)
        given = (*tangents[:9], *tangents[11:13])
        along = tuple(torch.zeros_like(x) if t is None else t for t, x in zip(given, tensors, strict=True))
        # by two transposes, for torch knows one level of forward mode at a time
        traced: Any = torch.func.vjp(first, *tensors)
        values, transpose = traced
        traced = torch.func.vjp(transpose, tuple(map(torch.zeros_like, values)))
        _, push = traced
        (second,) = push(along)
        return *second, torch.zeros_like(values[0][:, 0, 0], dtype=torch.float64)


def _inside_func() -> bool:
    """Whether ``torch.func`` or forward mode is at work, which see the functions above and not the operators' own."""
    return not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def solve_backward(*inputs: Any) -> tuple[Tensor, ...]:
    """The operator ``solve_backward``, differentiable also inside ``torch.func``."""
    return _SolveBackward.apply(*inputs) if _inside_func() else torch.ops.wbm_ext.solve_backward(*inputs)


torch.library.register_autograd("wbm_ext::solve", _differentiate, setup_context=_save_registered)
torch.library.register_autograd("wbm_ext::solve_backward", _differentiate_again, setup_context=_save_backward)


def requires_gradient(problem: Problem) -> bool:
    """Whether a gradient in any input of a solve is asked for."""
    D, a, b, epsilon, kappa, _, _ = problem
    return torch.is_grad_enabled() and (
        D.requires_grad
        or (a is not None and a.requires_grad)
        or (b is not None and b.requires_grad)
        or (isinstance(epsilon, Tensor) and epsilon.requires_grad)
        or (isinstance(kappa, Tensor) and kappa.requires_grad)
    )


def solve(
    problem: Problem, options: Options, batch: tuple[int, ...], read: bool, followed: bool, wanted: Wanted = EVERYTHING
) -> tuple[Solution, Adjoint]:
    """Solve what was checked, with a gradient where an input asks for one.

    With ``read``, what the solve and its backward say of themselves is read, raised and warned of; ``batch`` is the
    shape in which problems are named then. ``followed`` values go by the registered operators.
    """
    adjoint = Adjoint()
    if followed:
        return _solve_transformed(problem, options, read), adjoint
    if requires_gradient(problem):
        if not wanted.potentials:
            wanted = Wanted(wanted.sharp, wanted.regularized, True, wanted.report)
        call = _Call(problem, options, wanted, read, adjoint)
        outputs: Any = _Eager.apply(*problem[:5], call)  # type: ignore[no-untyped-call]
        solution, unsolved = Solution(*outputs, *call.solution[4:]), call.unsolved
    else:
        solution, unsolved, _ = kernels.solve(problem, options, wanted, read=read)
    if unsolved is not None and read:
        status, residual = unsolved
        raise_or_warn(problem, batch, status, residual, options.tol)
    return _with_epsilon(solution, problem) if wanted.report else solution, adjoint


def _solve_transformed(problem: Problem, options: Options, read: bool) -> Solution:
    """By the registered operators, which torch's compiler and transforms see through."""
    inputs, inside = (*problem.batched(), *options), _inside_func()
    solution = Solution(*(_Solve.apply(*inputs) if inside else torch.ops.wbm_ext.solve(*inputs)))  # type: ignore[no-untyped-call]
    if inside and read:
        raise_or_warn_inside_func(solution.status, solution.residual, options.tol)
    return _with_epsilon(solution, problem)


def _with_epsilon(solution: Solution, problem: Problem) -> Solution:
    """With the epsilon that was given as a tensor, and its gradient: the plan depends on it directly."""
    epsilon = problem.epsilon
    return solution._replace(epsilon=epsilon.clone()) if isinstance(epsilon, Tensor) else solution
