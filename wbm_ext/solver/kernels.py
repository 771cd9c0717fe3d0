"""The crossing to the compiled module: a problem in, addresses across, a solution out; CPU and CUDA alike.

A problem crosses as one tuple of numbers and addresses (``csrc/binding/problem_in.h``). Potentials are float64; D, the
two costs, the masses and the gradients in them have their own types. What is left to its default on the CPU, or is
float32 there, is completed beyond the crossing; a device gets float64 vectors that are all there, and its work is
enqueued on the current stream without waiting for it. With ``WBM_BACKEND=reference`` the twin answers instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wbm_ext._native import BACKEND, core
from wbm_ext.solver.problem import BITS16, UNROLLED, Options, Problem, Solution, Upstream, computed_in
from wbm_ext.solver.reference import operators as twin
from wbm_ext.solver.status import REFUSED, Status

_REAL = torch.float64
_NAN = float("nan")

_UPSTREAM = "an upstream gradient"
SAVED_BYTES = 1 << 25  # of D: the plan of a larger problem is evaluated anew in the backward, not saved for it

Unsolved = tuple[list[int], list[float]]  # status and residual of every problem


class Wanted(NamedTuple):
    """Parts of a solution that are to be there: the costs, f and g, what the solve says of itself."""

    sharp: bool = True
    regularized: bool = True
    potentials: bool = True
    report: bool = True


class Gradients(NamedTuple):
    """Gradients in D, a and b (None: not wanted), and the relative residual of each problem's linear system."""

    D: Tensor | None
    a: Tensor | None
    b: Tensor | None
    residual: Tensor


EVERYTHING = Wanted()


def in_memory(name: str, x: Tensor, dtype: torch.dtype, matrix: bool = False) -> Tensor:
    """x as the kernels read it: of the type, in memory, no lazy negation; dense but for the rows of a matrix.

    This is the one way of a tensor to a kernel. (What is complex, and could be lazily conjugated, has been refused.)
    """
    if x.dtype == dtype and x.is_contiguous() and x.data_ptr() != 0 and not x.is_neg():
        return x
    if x._is_zerotensor():
        return torch.zeros(x.shape, dtype=dtype, device=x.device)
    x = x.resolve_neg()
    if x.dtype != dtype:
        x = x.to(dtype)
    if not (x.is_contiguous() or (matrix and x.stride(-1) == 1)):
        x = x.contiguous()
    if x.data_ptr() == 0 and x.numel() > 0:
        raise ValueError(f"{name} has no memory: its storage was released or never made")
    return x


def _float64(name: str, x: Tensor | None) -> Tensor | None:
    return None if x is None else in_memory(name, x, _REAL)


def _addresses(tensors: Iterable[Tensor | None]) -> tuple[int, ...]:
    """Where the values of each stand, 0 for None."""
    return tuple([0 if x is None else x.data_ptr() for x in tensors])


class _Record:
    """A problem as numbers and addresses, and the tensors that these point into."""

    __slots__ = ("D", "alive", "masses", "numbers")

    def __init__(self, problem: Problem, on_cpu: bool = True) -> None:
        D, a, b, epsilon, kappa, mask, reference = problem
        kind = D.dtype
        if on_cpu and kind in BITS16:
            kind = torch.float32
        D = in_memory("D", D, kind, matrix=True)
        strides, masses = D.stride(), kind
        shape = D.shape if len(strides) == 3 else (1, *D.shape)
        if not on_cpu or (a is not None and a.dtype != kind) or (b is not None and b.dtype != kind):
            masses = _REAL
        if a is not None:
            a = in_memory("a", a, masses)
        if b is not None:
            b = in_memory("b", b, masses)
        mask_problem = mask_row = 0
        if mask is not None:
            mask = in_memory("mask", mask, torch.bool, matrix=True)
            mask_problem, mask_row = (mask.stride(0) if mask.dim() == 3 else 0), mask.stride(-2)
        epsilon_address, epsilon_value, kappa_address, rows, columns = 0, _NAN, 0, _NAN, _NAN
        if isinstance(epsilon, Tensor):
            epsilon = in_memory("epsilon", epsilon, _REAL)
            epsilon_address = epsilon.data_ptr()
        elif epsilon is not None:
            epsilon_value = epsilon
        if isinstance(kappa, Tensor):
            kappa = in_memory("kappa", kappa, _REAL)
            kappa_address = kappa.data_ptr()
        else:
            rows, columns = kappa
        self.D, self.masses, self.alive = D, masses, (a, b, mask, epsilon, kappa)
        self.numbers = (
            *shape,
            D.data_ptr(), strides[0] if len(strides) == 3 else 0, strides[-2],
            0 if mask is None else mask.data_ptr(), mask_problem, mask_row,
            0 if a is None else a.data_ptr(), 0 if b is None else b.data_ptr(),
            epsilon_address, epsilon_value, kappa_address, rows, columns,
            kind == _REAL, BITS16.get(kind, 0), masses == _REAL, not on_cpu or kind == _REAL, reference,
        )  # fmt: skip


def _allocate(
    D: Tensor, options: Options, wanted: Wanted, costs: torch.dtype, default_epsilon: bool
) -> tuple[Tensor | None, ...]:
    """Memory for the fields of a solution that are wanted, on the device of D."""
    new, device, lead, (n, m) = torch.empty, D.device, D.shape[:-2], D.shape[-2:]
    unrolled, report = options.gradient == UNROLLED, wanted.report
    return (
        new(lead, dtype=costs, device=device) if wanted.sharp else None,
        new(lead, dtype=costs, device=device) if wanted.regularized else None,
        new((*lead, n), dtype=_REAL, device=device) if wanted.potentials else None,
        new((*lead, m), dtype=_REAL, device=device) if wanted.potentials else None,
        new(lead, dtype=_REAL, device=device) if report else None,
        new(lead, dtype=_REAL, device=device) if report else None,
        new(lead, dtype=torch.int64, device=device) if report or unrolled else None,
        new(lead, dtype=torch.int32, device=device) if report else None,
        new((*(lead or (1,)), options.max_iter + 1, n + m), dtype=_REAL, device=device) if unrolled else None,
        new(lead, dtype=_REAL, device=device) if report or (default_epsilon and wanted.potentials) else None,
    )


def _workspace(D: Tensor, size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, device=D.device)


def solve(
    problem: Problem, options: Options, wanted: Wanted = EVERYTHING, save: bool = False, read: bool = False
) -> tuple[Solution, Unsolved | None, Any]:
    """Solve, by the kernels of the device of D.

    Returns
    -------
    solution : Solution
    unsolved : tuple of lists, or None
        Status and residual, unless all problems converged; without ``read`` never what would wait for a device.
    saved : object or None
        With ``save``: what :func:`gradient` of the same problem, unchanged since, may go on from.
    """
    D, epsilon = problem.D, problem.epsilon
    if BACKEND == "reference" or not D.is_cpu:
        solution = (_solve_by_twin if BACKEND == "reference" else _solve_on_cuda)(problem, options)
        return solution, _unsolved(solution) if read else None, None
    record = _Record(problem)
    outputs = _allocate(record.D, options, wanted, record.D.dtype, epsilon is None)
    method, criterion, _, tol, max_iter, init_g = options
    init_g = _float64("init", init_g)
    saved, unsolved = core.cpu_solve(
        record.numbers,
        (method, criterion, tol, max_iter, *_addresses([init_g]), torch.get_num_threads()),
        _addresses(outputs),
        save and record.D.numel() * record.D.element_size() <= SAVED_BYTES,
    )
    return Solution(*outputs), unsolved, saved  # type: ignore[arg-type]


def _unsolved(solution: Solution) -> Unsolved | None:
    status = solution.status.flatten().tolist()
    if all(s & Status.CONVERGED and not s & REFUSED for s in status):
        return None
    return status, solution.residual.flatten().tolist()


def gradient(
    problem: Problem,
    solution: Solution,
    upstream: Upstream,
    mode: int,
    max_iter: int,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    saved: Any = None,
) -> tuple[Gradients, float | None]:
    """Gradients at the solution of a problem whose epsilon is given, and the largest of their residuals.

    Of the solution f and g are read, and for the unrolled mode iterations and history. The largest residual is None
    where reading it would wait for a device.
    """
    if BACKEND == "reference":
        return _gradient_by_twin(problem, solution, upstream, mode, max_iter), None
    if not problem.D.is_cpu:
        return _gradient_on_cuda(problem, solution, upstream, mode, max_iter), None
    record = _Record(problem)
    D = record.D
    new, device, lead, (n, m), costs = torch.empty, D.device, D.shape[:-2], D.shape[-2:], D.dtype
    _, _, f, g, _, _, iterations, _, history, _ = solution
    sharp, regularized, q_f, q_g = upstream
    inputs = (
        in_memory("f", f, _REAL),
        in_memory("g", g, _REAL),
        None if sharp is None else in_memory(_UPSTREAM, sharp, costs),
        None if regularized is None else in_memory(_UPSTREAM, regularized, costs),
        _float64(_UPSTREAM, q_f),
        _float64(_UPSTREAM, q_g),
    )
    gradients = Gradients(
        new(D.shape, dtype=costs, device=device)
        if wanted[0] or mode == UNROLLED
        else None,  # there the unrolled gradient adds up
        new((*lead, n), dtype=record.masses, device=device) if wanted[1] else None,
        new((*lead, m), dtype=record.masses, device=device) if wanted[2] else None,
        new(lead, dtype=_REAL, device=device),
    )
    largest = core.cpu_gradient(
        record.numbers,
        (mode, max_iter, *(_addresses((iterations, history)) if mode == UNROLLED else (0, 0)), torch.get_num_threads()),
        _addresses(inputs),
        _addresses(gradients),
        saved,
    )
    if problem.D.dtype != costs and gradients.D is not None:
        gradients = gradients._replace(D=gradients.D.to(problem.D.dtype))
    return gradients, largest


def mean_cost(D: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of D over finite, unmasked entries with positive masses on both sides, (B,)."""
    if BACKEND == "reference" or not D.is_cpu:
        return twin.mean_cost(D, a, b, mask)
    mean = D.new_empty(len(D), dtype=_REAL)
    record = _Record(Problem(D, a, b, 1.0, (1.0, 1.0), mask, 0))
    core.cpu_mean_cost(record.numbers, mean.data_ptr(), torch.get_num_threads())
    return mean


def _complete(problem: Problem) -> Problem:
    """Every value a tensor on the device of D."""
    problem = problem.batched()
    return problem._replace(epsilon=twin.default_epsilon(problem)) if problem.epsilon is None else problem


def _require_cuda_kernels() -> None:
    if not core.cuda_architectures:
        raise RuntimeError(
            "D is on a CUDA device, but wbm_ext was built for the CPU only: "
            "put nvcc on the PATH and reinstall (WBM_CUDA=on makes a missing nvcc an error)"
        )


def _solve_on_cuda(problem: Problem, options: Options) -> Solution:
    _require_cuda_kernels()
    D = problem.D
    with torch.cuda.device(D.device):
        complete = _complete(problem)
        record = _Record(complete, on_cpu=False)
        init_g = _float64("init", options.init_g)
        outputs = Solution(*_allocate(D, options, EVERYTHING, _REAL, True))  # type: ignore[arg-type]
        outputs.epsilon.copy_(complete.epsilon.reshape(outputs.epsilon.shape))  # type: ignore[union-attr]
        workspace = _workspace(D, core.cuda_workspace_bytes(record.numbers))
        core.cuda_solve(
            record.numbers,
            (options.method, options.criterion, options.tol, options.max_iter, *_addresses([init_g]), 1),
            _addresses(outputs),
            workspace.data_ptr(),
            torch.cuda.current_stream().cuda_stream,
        )
        # potentials stay float64, for the plan is computed from them
        costs = computed_in(D.dtype)
        return outputs._replace(sharp=outputs.sharp.to(costs), regularized=outputs.regularized.to(costs))


def _gradient_on_cuda(problem: Problem, solution: Solution, upstream: Upstream, mode: int, max_iter: int) -> Gradients:
    _require_cuda_kernels()
    D, lead, (n, m) = problem.D, problem.D.shape[:-2], problem.D.shape[-2:]

    def given(x: Tensor | None, *size: int) -> Tensor:
        return D.new_zeros((*lead, *size), dtype=_REAL) if x is None else in_memory(_UPSTREAM, x, _REAL)

    with torch.cuda.device(D.device):
        record = _Record(_complete(problem), on_cpu=False)
        q = (given(upstream.sharp), given(upstream.regularized), given(upstream.f, n), given(upstream.g, m))
        inputs = (in_memory("f", solution.f, _REAL), in_memory("g", solution.g, _REAL), *q)
        gradients = (
            D.new_empty(D.shape),
            D.new_empty((*lead, n), dtype=_REAL),
            D.new_empty((*lead, m), dtype=_REAL),
            D.new_empty(lead, dtype=_REAL),
        )
        workspace = _workspace(D, core.cuda_gradient_workspace_bytes(record.numbers, mode))
        core.cuda_gradient(
            record.numbers,
            (mode, max_iter, *(_addresses((solution.iterations, solution.history)) if mode == UNROLLED else (0, 0)), 1),
            _addresses(inputs),
            _addresses(gradients),
            workspace.data_ptr(),
            torch.cuda.current_stream().cuda_stream,
        )
    d_D, d_a, d_b, residual = gradients
    a, b = problem.a, problem.b
    return Gradients(d_D, d_a if a is None else d_a.to(a.dtype), d_b if b is None else d_b.to(b.dtype), residual)


def _solve_by_twin(problem: Problem, options: Options) -> Solution:
    lead = problem.D.shape[:-2]
    found = twin.solve(_complete(problem), options)
    shaped = [x if x is None else x.reshape((*lead, *x.shape[1:])) for x in found._replace(history=None)]  # type: ignore[arg-type]
    return Solution(*shaped)._replace(history=found.history)  # type: ignore[arg-type]


def _gradient_by_twin(problem: Problem, solution: Solution, upstream: Upstream, mode: int, max_iter: int) -> Gradients:
    lead, complete = problem.D.shape[:-2], _complete(problem)
    count = len(complete.D)

    def batched(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.reshape((count, *x.shape[len(lead) :]))

    f, g = batched(solution.f), batched(solution.g)
    iterations = None if solution.iterations is None else solution.iterations.reshape(count)
    flat = solution._replace(f=f, g=g, iterations=iterations)  # type: ignore[arg-type]
    found = twin.gradient(complete, flat, Upstream(*map(batched, upstream)), mode, max_iter)
    return Gradients(*[x.reshape((*lead, *x.shape[1:])) for x in found])
