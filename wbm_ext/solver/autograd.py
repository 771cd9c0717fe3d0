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
from wbm_ext.solver.checks import is_transformed
from wbm_ext.solver.kernels import EVERYTHING, Unsolved, Wanted
from wbm_ext.solver.problem import IMPLICIT, Options, Problem, Solution, Upstream, computed_in, found_at
from wbm_ext.solver.reference.gradient import implicit_gradient
from wbm_ext.solver.result import Adjoint
from wbm_ext.solver.status import raise_or_warn, raise_or_warn_inside_func
from wbm_ext.solver.strength_gradient import envelope_gradient, fixed_point_gradient

FAITHFUL = 1e-6  # residual of the backward's linear system that is never warned of

Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor]


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
        if needs[3] or needs[4] or torch.is_grad_enabled() or is_transformed(*grads):
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

    history = solution.history
    if history is None:
        history = problem.D.new_empty((0,), dtype=torch.float64)
    iterations = batched(solution.iterations)
    if iterations is None:
        iterations = problem.D.new_zeros((count,), dtype=torch.int64)
    saved = (cast("Tensor", batched(solution.f)), cast("Tensor", batched(solution.g)), iterations, history)
    strengths = (needs[3] or needs[4]) and mode == IMPLICIT
    *gradients, residual = pull_back(Upstream(*map(batched, upstream)), problem, saved, mode, max_iter, strengths)
    if not is_transformed(residual):
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
    solution: tuple[Tensor, Tensor, Tensor, Tensor],
    mode: int,
    max_iter: int,
    strengths: bool,
) -> Gradients:
    """Gradients in D, a, b, epsilon and kappa (the last two only for ``strengths``), and the backward's residual.

    ``solution`` are f, g, iterations and history; every value has its batch dimension.
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
    ctx.mark_non_differentiable(*output[4:])
    ctx.set_materialize_grads(False)
    *data, epsilon, kappa, mask, reference = problem
    epsilon = solution.epsilon if epsilon is None else epsilon
    ctx.save_for_backward(*data, epsilon, kappa, mask, solution.f, solution.g, solution.iterations, solution.history)
    ctx.options = (reference, options.gradient, options.max_iter)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    D, a, b, epsilon, kappa, mask, f, g, iterations, history = ctx.saved_tensors
    reference, mode, max_iter = ctx.options
    strengths = (ctx.needs_input_grad[3] or ctx.needs_input_grad[4]) and mode == IMPLICIT
    problem, solution = Problem(D, a, b, epsilon, kappa, mask, reference), (f, g, iterations, history)
    d_D, d_a, d_b, d_epsilon, d_kappa, _ = pull_back(Upstream(*grads[:4]), problem, solution, mode, max_iter, strengths)
    return d_D, d_a, d_b, d_epsilon if ctx.needs_input_grad[3] else None, d_kappa, *[None] * 8


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, reference, f, g, _, _, mode, _ = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, f, g)
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


class _Solve(torch.autograd.Function):
    """The operator ``solve`` for ``torch.func``, which does not see the derivative registered with an operator."""

    generate_vmap_rule = True
    setup_context = staticmethod(_save)  # type: ignore[assignment]
    backward = staticmethod(_differentiate)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve(*inputs)


class _SolveBackward(torch.autograd.Function):
    """The operator ``solve_backward`` for ``torch.func``."""

    generate_vmap_rule = True
    setup_context = staticmethod(_save_backward)  # type: ignore[assignment]
    backward = staticmethod(_differentiate_again)  # type: ignore[assignment]

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return torch.ops.wbm_ext.solve_backward(*inputs)


def _inside_func() -> bool:
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def solve_backward(*inputs: Any) -> tuple[Tensor, ...]:
    """The operator ``solve_backward``, differentiable also inside ``torch.func``."""
    return _SolveBackward.apply(*inputs) if _inside_func() else torch.ops.wbm_ext.solve_backward(*inputs)


torch.library.register_autograd("wbm_ext::solve", _differentiate, setup_context=_save)
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
    problem: Problem, options: Options, batch: tuple[int, ...] = (), wanted: Wanted = EVERYTHING, read: bool = False
) -> tuple[Solution, Adjoint]:
    """Solve, with a gradient where an input asks for one, whatever looks into the call.

    With ``read``, what the solve and its backward say of themselves is read, raised and warned of; ``batch`` is the
    shape in which problems are named then.
    """
    adjoint = Adjoint()
    if is_transformed(problem.D, problem.a, problem.b, problem.mask) or problem.D.device.type not in ("cpu", "cuda"):
        return _solve_transformed(problem, options, read), adjoint
    if requires_gradient(problem):
        if not wanted.potentials:
            wanted = wanted._replace(potentials=True)
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
