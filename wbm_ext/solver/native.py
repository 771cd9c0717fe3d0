"""The kernels of the registered operators: tensors in, addresses handed to the compiled module, tensors out.

Everything of size n or m crosses as float64; only D and its gradient have their own type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext._native import core

_REAL = torch.float64

Solved = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _unit_columns(matrix: Tensor) -> Tensor:
    """The same matrix with column stride 1 (rows and problems may have any stride, also 0)."""
    return matrix if matrix.stride(-1) == 1 or matrix.shape[-1] == 1 else matrix.contiguous()


def _vector(values: Tensor) -> Tensor:
    return values.to(_REAL).contiguous()


class _Inputs:
    """A ``core.Problem`` together with the tensors its addresses point into."""

    def __init__(
        self,
        cost: Tensor,
        a: Tensor,
        b: Tensor,
        epsilon: Tensor,
        kappa: Tensor,
        mask: Tensor | None,
        reference: int,
    ) -> None:
        cost, mask = _unit_columns(cost), None if mask is None else _unit_columns(mask)
        vectors = [_vector(x) for x in (a, b, epsilon, kappa)]
        problem = core.Problem()
        problem.batch, problem.n, problem.m = cost.shape
        problem.float64 = cost.dtype == _REAL
        problem.cost = cost.data_ptr()
        problem.cost_stride_problem, problem.cost_stride_row = cost.stride(0), cost.stride(1)
        if mask is not None:
            problem.mask = mask.data_ptr()
            problem.mask_stride_problem, problem.mask_stride_row = mask.stride(0), mask.stride(1)
        problem.a, problem.b, problem.epsilon, problem.kappa = (x.data_ptr() for x in vectors)
        problem.reference = reference
        self.problem = problem
        self._alive = (cost, mask, vectors)


def _allocate(cost: Tensor, max_iter: int, unrolled: bool) -> Solved:
    batch, n, m = cost.shape

    def empty(*shape: int, dtype: torch.dtype = _REAL) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=cost.device)

    history = empty(batch, max_iter + 1, n + m) if unrolled else empty(0)
    return (
        empty(batch),
        empty(batch),
        empty(batch, n),
        empty(batch, m),
        empty(batch),
        empty(batch),
        empty(batch, dtype=torch.int64),
        empty(batch, dtype=torch.int32),
        history,
    )


def _solution(out: Solved) -> object:
    sharp, regularized, f, g, mass, residual, iterations, status, history = out
    return core.Solution(
        f=f.data_ptr(),
        g=g.data_ptr(),
        sharp=sharp.data_ptr(),
        regularized=regularized.data_ptr(),
        mass=mass.data_ptr(),
        residual=residual.data_ptr(),
        iterations=iterations.data_ptr(),
        status=status.data_ptr(),
        history=history.data_ptr() if history.numel() else 0,
    )


def _in_cost_type(out: Solved, cost: Tensor) -> Solved:
    """The two costs in D's type; potentials stay float64, for the delivered plan is computed from them."""
    return (out[0].to(cost.dtype), out[1].to(cost.dtype), *out[2:])


def solve_cpu(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    init_g: Tensor | None,
    reference: int,
    method: int,
    criterion: int,
    gradient: int,
    tol: float,
    max_iter: int,
) -> Solved:
    inputs = _Inputs(cost, a, b, epsilon, kappa, mask, reference)
    init_g = None if init_g is None else _vector(init_g)
    out = _allocate(cost, max_iter, gradient == 2)
    options = core.Options(method, criterion, tol, max_iter, _address(init_g), torch.get_num_threads())
    core.cpu_forward(inputs.problem, options, _solution(out))
    return _in_cost_type(out, cost)


def solve_cuda(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    init_g: Tensor | None,
    reference: int,
    method: int,
    criterion: int,
    gradient: int,
    tol: float,
    max_iter: int,
) -> Solved:
    if not core.cuda_architectures:
        raise RuntimeError(
            "D is on a CUDA device, but wbm_ext was built for the CPU only: "
            "put nvcc on the PATH and reinstall (WBM_CUDA=on makes a missing nvcc an error)"
        )
    with torch.cuda.device(cost.device):
        inputs = _Inputs(cost, a, b, epsilon, kappa, mask, reference)
        init_g = None if init_g is None else _vector(init_g)
        out = _allocate(cost, max_iter, gradient == 2)
        size = core.cuda_workspace_bytes(inputs.problem)
        workspace = torch.empty(size, dtype=torch.uint8, device=cost.device)
        options = core.Options(method, criterion, tol, max_iter, _address(init_g), 1)
        stream = torch.cuda.current_stream().cuda_stream
        core.cuda_forward(inputs.problem, options, _solution(out), workspace.data_ptr(), stream)
        return _in_cost_type(out, cost)


def solve_backward_cpu(
    grad_sharp: Tensor,
    grad_regularized: Tensor,
    grad_f: Tensor,
    grad_g: Tensor,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    kappa: Tensor,
    mask: Tensor | None,
    f: Tensor,
    g: Tensor,
    iterations: Tensor,
    history: Tensor,
    reference: int,
    gradient: int,
    max_iter: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = _Inputs(cost, a, b, epsilon, kappa, mask, reference)
    upstream = [_vector(x) for x in (grad_sharp, grad_regularized, grad_f, grad_g)]
    batch, n, m = cost.shape
    grad_cost = torch.empty((batch, n, m), dtype=cost.dtype)
    grad_a = torch.empty((batch, n), dtype=_REAL)
    grad_b = torch.empty((batch, m), dtype=_REAL)
    residual = torch.empty(batch, dtype=_REAL)
    adjoint = core.Adjoint(
        mode=gradient,
        f=f.data_ptr(),
        g=g.data_ptr(),
        grad_sharp=upstream[0].data_ptr(),
        grad_regularized=upstream[1].data_ptr(),
        grad_f=upstream[2].data_ptr(),
        grad_g=upstream[3].data_ptr(),
        grad_cost=grad_cost.data_ptr(),
        grad_a=grad_a.data_ptr(),
        grad_b=grad_b.data_ptr(),
        residual=residual.data_ptr(),
        history=history.data_ptr() if history.numel() else 0,
        iterations=iterations.data_ptr(),
        max_iter=max_iter,
        threads=torch.get_num_threads(),
    )
    core.cpu_backward(inputs.problem, adjoint)
    return grad_cost, grad_a.to(a.dtype), grad_b.to(b.dtype), residual


def mean_cost_cpu(cost: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    ones = torch.ones(cost.shape[0], dtype=_REAL)
    inputs = _Inputs(cost, a, b, ones, ones.repeat_interleave(2), mask, 0)
    mean = torch.empty(cost.shape[0], dtype=_REAL)
    core.cpu_mean_cost(inputs.problem, mean.data_ptr(), torch.get_num_threads())
    return mean
