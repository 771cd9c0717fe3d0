"""The CUDA kernels: the structs of ``csrc/problem.h`` with device addresses, on the current stream.

Everything of size n or m crosses as float64; only D, and its gradient, have their own type, also one of 16 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext._native import core
from wbm_ext.solver.kernels import Solved, address, allocate, computed_in, unit_columns

_REAL = torch.float64
_BITS16 = {torch.float16: 1, torch.bfloat16: 2}  # as in csrc/problem.h


def _vector(values: Tensor) -> Tensor:
    return values.to(_REAL).contiguous()


class _Inputs:
    """For CUDA: a ``core.Problem`` together with the tensors its addresses point into."""

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
        cost, mask = unit_columns(cost), None if mask is None else unit_columns(mask)
        vectors = [_vector(x) for x in (a, b, epsilon, kappa)]
        problem = core.Problem()
        problem.batch, problem.n, problem.m = cost.shape
        problem.float64 = cost.dtype == _REAL
        if cost.dtype in _BITS16:
            problem.bits16 = _BITS16[cost.dtype]
        problem.cost = cost.data_ptr()
        problem.cost_stride_problem, problem.cost_stride_row = cost.stride(0), cost.stride(1)
        if mask is not None:
            problem.mask = mask.data_ptr()
            problem.mask_stride_problem, problem.mask_stride_row = mask.stride(0), mask.stride(1)
        problem.a, problem.b, problem.epsilon, problem.kappa = (x.data_ptr() for x in vectors)
        problem.reference = reference
        self.problem = problem
        self._alive = (cost, mask, vectors)


def _require_kernels() -> None:
    if not core.cuda_architectures:
        raise RuntimeError(
            "D is on a CUDA device, but wbm_ext was built for the CPU only: "
            "put nvcc on the PATH and reinstall (WBM_CUDA=on makes a missing nvcc an error)"
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
    """The two costs in D's type, float32 for 16 bits; potentials stay float64, for the plan is computed from them."""
    kind = computed_in(cost.dtype)
    return (out[0].to(kind), out[1].to(kind), *out[2:])


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
    _require_kernels()
    with torch.cuda.device(cost.device):
        inputs = _Inputs(cost, a, b, epsilon, kappa, mask, reference)
        init_g = None if init_g is None else _vector(init_g)
        out = allocate(cost, max_iter, gradient == 2, _REAL)
        size = core.cuda_workspace_bytes(inputs.problem)
        workspace = torch.empty(size, dtype=torch.uint8, device=cost.device)
        options = core.Options(method, criterion, tol, max_iter, address(init_g), 1)
        stream = torch.cuda.current_stream().cuda_stream
        core.cuda_forward(inputs.problem, options, _solution(out), workspace.data_ptr(), stream)
        return _in_cost_type(out, cost)


def solve_backward_cuda(
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
    _require_kernels()

    def empty(*shape: int, dtype: torch.dtype = _REAL) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=cost.device)

    with torch.cuda.device(cost.device):
        inputs = _Inputs(cost, a, b, epsilon, kappa, mask, reference)
        given = [_vector(x) for x in (f, g, grad_sharp, grad_regularized, grad_f, grad_g, history)]
        iterations = iterations.contiguous()
        d_cost, residual = empty(*cost.shape, dtype=cost.dtype), empty(len(cost))
        d_a, d_b = empty(*a.shape), empty(*b.shape)
        adjoint = core.Adjoint(
            gradient,
            *[x.data_ptr() for x in given[:6]],
            *[x.data_ptr() for x in (d_cost, d_a, d_b, residual)],
            history=given[6].data_ptr() if history.numel() else 0,
            iterations=iterations.data_ptr(),
            max_iter=max_iter,
            threads=1,
        )
        size = core.cuda_backward_workspace_bytes(inputs.problem, gradient)
        workspace = torch.empty(size, dtype=torch.uint8, device=cost.device)
        stream = torch.cuda.current_stream().cuda_stream
        core.cuda_backward(inputs.problem, adjoint, workspace.data_ptr(), stream)
        return d_cost, d_a.to(a.dtype), d_b.to(b.dtype), residual
