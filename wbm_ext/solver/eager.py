"""The eager path of a solve: the kernels behind one ``torch.autograd.Function``, without the dispatch of operators.

The registered operators serve what looks into a call (``torch.compile``, ``torch.export``, ``torch.func``, fake
tensors); here a call costs microseconds. The CPU kernels are entered with numbers, anything else through the operators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.errors import ConvergenceWarning, warn_once
from wbm_ext.solver import kernels
from wbm_ext.solver.arguments import Arguments, pair, uniform
from wbm_ext.solver.autograd import pull_back
from wbm_ext.solver.reference.iteration import IMPLICIT, UNROLLED
from wbm_ext.solver.result import Adjoint

_REAL = torch.float64
FAITHFUL = 1e-6  # residual of the backward's linear system that is never warned of


@dataclass(slots=True)
class Report:
    """What a solve says about itself; tensors have the leading shape of the arguments, () or (B,)."""

    epsilon: Tensor
    mass: Tensor
    residual: Tensor
    iterations: Tensor
    status: Tensor


class PackedReport:
    """A report in one allocation, taken apart when asked for: five rows of 8 bytes for each problem."""

    __slots__ = ("lead", "rows")

    def __init__(self, lead: tuple[int, ...]) -> None:
        self.lead = lead
        self.rows = torch.empty((5, *lead), dtype=_REAL)

    def addresses(self) -> tuple[int, int, int, int, int]:
        start, step = self.rows.data_ptr(), 8 * self.rows.stride(0)
        return start, start + step, start + 2 * step, start + 3 * step, start + 4 * step

    def unpack(self) -> Report:
        rows, lead = self.rows, self.lead
        count = rows[4].numel()
        status = rows[4:].view(-1).view(torch.int32)[:count].view(lead)
        return Report(rows[0], rows[1], rows[2], iterations_of(rows), status)


def iterations_of(rows: Tensor) -> Tensor:
    """The integers in the fourth row of a packed report."""
    return rows[3:4].view(torch.int64)[0]


def unpacked(report: Report | PackedReport) -> Report:
    return report.unpack() if isinstance(report, PackedReport) else report


@dataclass(slots=True)
class Solved:
    """A solve's outputs; tensors have the leading shape of the arguments, () or (B,)."""

    sharp: Tensor
    regularized: Tensor
    f: Tensor
    g: Tensor
    packed: Report | PackedReport
    converged: bool | None  # None: not read
    adjoint: Adjoint

    def report(self) -> Report:
        self.packed = unpacked(self.packed)
        return self.packed


def _on_cpu(cost: Tensor) -> bool:
    return BACKEND == "native" and cost.device.type == "cpu"


def _forward(
    arguments: Arguments,
    cost: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: float | Tensor | None,
    kappa: tuple[float, float] | Tensor,
    keep: bool = False,
) -> tuple[tuple[Tensor, ...], Report | PackedReport, Tensor | None, bool | None, Any]:
    """sharp, regularized, f, g; the report; the history; whether all converged; what is kept for the backward."""
    lead = tuple(cost.shape[:-2])
    if not _on_cpu(cost):
        flat, row, column, mask = arguments.flat_data()
        used = arguments.epsilons().detach()
        *found, history = torch.ops.wbm_ext.solve(
            flat, row, column, used, arguments.kappas(), mask, arguments.init_g, arguments.reference,
            arguments.method, arguments.criterion, arguments.gradient, arguments.tol, arguments.max_iter,
        )  # fmt: skip
        shaped = [x.reshape((*lead, *x.shape[1:])) for x in (*found, used)]
        return tuple(shaped[:4]), Report(shaped[8], *shaped[4:8]), history, None, None
    kind, (n, m) = cost.dtype, cost.shape[-2:]
    history = None
    if arguments.gradient == UNROLLED:
        history = torch.empty((lead[0] if lead else 1, arguments.max_iter + 1, n + m), dtype=_REAL)
    outputs = (
        torch.empty(lead, dtype=kind),
        torch.empty(lead, dtype=kind),
        torch.empty((*lead, n), dtype=_REAL),
        torch.empty((*lead, m), dtype=_REAL),
    )
    report = PackedReport(lead)
    converged, kept = kernels.solve(
        kernels.Numbers(cost, a, b, epsilon, kappa, arguments.mask, arguments.reference),
        (arguments.method, arguments.criterion, arguments.tol, arguments.max_iter),
        arguments.init_g,
        outputs,
        report.addresses(),
        history,
        keep and arguments.gradient == IMPLICIT,
    )
    return outputs, report, history, converged, kept


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cost, a, b, epsilon, kappa, arguments, adjoint, rest = inputs
        outputs, report, history, converged, ctx.kept = _forward(arguments, cost, a, b, epsilon, kappa, keep=True)
        sharp, regularized, f, g = outputs
        ctx.set_materialize_grads(False)
        tensors = (epsilon if isinstance(epsilon, Tensor) else None, kappa if isinstance(kappa, Tensor) else None)
        # the epsilon used and the iterations: the packed rows, or tensors of their own
        done = (report.rows, None) if isinstance(report, PackedReport) else (report.epsilon, report.iterations)
        ctx.save_for_backward(cost, a, b, arguments.mask, f, g, *tensors, *done, history)
        ctx.kappa = None if isinstance(kappa, Tensor) else kappa
        ctx.options = (arguments.reference, arguments.gradient, arguments.max_iter)
        ctx.limit = max(arguments.tol, FAITHFUL) if arguments.reads_data else None
        ctx.adjoint = adjoint
        rest += (report, converged)
        return sharp, regularized, f, g

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        cost, a, b, mask, f, g, epsilon, kappa, used, iterations, history = ctx.saved_tensors
        kappa = ctx.kappa if kappa is None else kappa
        needs = ctx.needs_input_grad
        reference, mode, max_iter = ctx.options
        packed = iterations is None
        if packed and mode == UNROLLED:
            iterations = iterations_of(used)
        if _on_cpu(cost) and not (needs[3] or needs[4] or torch.is_grad_enabled()):
            d_cost, d_a, d_b, residual, largest = kernels.gradient(
                # the packed rows begin with epsilon
                kernels.Numbers(cost, a, b, used if epsilon is None else epsilon, kappa, mask, reference),
                mode,
                max_iter,
                (f, g, iterations, history),
                upstream,  # type: ignore[arg-type]
                needs[:3],
                ctx.kept,
            )
            ctx.adjoint.residual = residual
            if ctx.limit is not None and largest > ctx.limit:
                warn_of_backward(largest, ctx.limit)
            return (d_cost if needs[0] else None), d_a, d_b, None, None, None, None, None
        if packed:
            used, iterations = used[0], iterations_of(used)
        epsilon = used if epsilon is None else epsilon
        return _operator_backward(ctx, (cost, a, b, mask, f, g, epsilon, kappa, iterations, history), upstream)


def _operator_backward(
    ctx: Any, saved: tuple[Any, ...], upstream: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The backward in operations that can be differentiated again, or that are not the CPU's."""
    cost, a, b, mask, f, g, epsilon, kappa, iterations, history = saved
    needs, lead, (n, m) = ctx.needs_input_grad, cost.shape[:-2], cost.shape[-2:]
    count, device = (lead[0] if lead else 1), cost.device
    inputs = (
        cost.reshape(count, n, m),
        uniform(a, count, n, device),
        uniform(b, count, m, device),
        epsilon.reshape(count),
        pair(kappa, count, device),
        None if mask is None else mask.reshape(count, n, m),
    )
    if history is None:
        history = torch.empty(0, dtype=_REAL, device=device)
    solution = (f.reshape(count, n), g.reshape(count, m), iterations.reshape(count), history)
    up = tuple(None if x is None else x.reshape((count, *x.shape[len(lead) :])) for x in upstream)
    strengths = (needs[3] or needs[4]) and ctx.options[1] == IMPLICIT
    *gradients, residual = pull_back(up, inputs, solution, ctx.options, strengths)
    residual = residual.detach()
    ctx.adjoint.residual = residual.reshape(lead)
    if ctx.limit is not None:
        largest = float(residual.nan_to_num(0.0).max()) if count else 0.0
        if largest > ctx.limit:
            warn_of_backward(largest, ctx.limit)
    shapes = (cost, a, b, epsilon, kappa)
    return *[
        d.reshape(x.shape) if needed and d is not None and isinstance(x, Tensor) else None
        for d, x, needed in zip(gradients, shapes, needs[:5], strict=True)
    ], None, None, None  # fmt: skip


def warn_of_backward(largest: float, limit: float) -> None:
    """ConvergenceWarning for a backward whose linear system was solved to ``largest`` > ``limit``."""
    warn_once(
        ConvergenceWarning(
            f"the backward's linear system was solved to a relative residual of {largest:.2e} > {limit:.0e} only, and "
            "the gradient is as inexact; raise epsilon, or use float64"
        )
    )


def solve(arguments: Arguments) -> Solved:
    """Solve, with a gradient where an input asks for one."""
    cost, a, b, epsilon, kappa = arguments.cost, arguments.a, arguments.b, arguments.epsilon, arguments.kappa
    adjoint = Adjoint()
    if torch.is_grad_enabled() and (
        cost.requires_grad
        or (a is not None and a.requires_grad)
        or (b is not None and b.requires_grad)
        or (isinstance(epsilon, Tensor) and epsilon.requires_grad)
        or (isinstance(kappa, Tensor) and kappa.requires_grad)
    ):
        rest: list[Any] = []
        outputs: Any = _Solve.apply(cost, a, b, epsilon, kappa, arguments, adjoint, rest)
        if isinstance(epsilon, Tensor):
            rest[0] = replace(unpacked(rest[0]), epsilon=epsilon)  # with its gradient: the plan depends on it directly
        return Solved(*outputs, *rest, adjoint)  # type: ignore[call-arg]
    found: Any
    found, report, _, converged, _ = _forward(arguments, cost, a, b, epsilon, kappa)
    return Solved(*found, report, converged, adjoint)  # type: ignore[call-arg]
