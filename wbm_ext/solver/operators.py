"""The registered operators: schema, kernel and shape rule of each, one whole solve per call; vmap and autocast rules.

``wbm_ext::solve`` runs Sinkhorn on a batch, ``wbm_ext::solve_backward`` its derivative, ``wbm_ext::mean_cost`` the
scale of the default epsilon. Their arguments are the fields of the records of ``problem.py``, every tensor with its
batch dimension: D (B, n, m), a (B, n), b (B, m), epsilon (B,) or None, kappa (B, 2). Users call :func:`wbm_ext.solve`,
which checks and shapes arguments. Their derivatives stand in ``autograd.py``.

vmap: the mapped dimension is folded into the batch that every operator has. Autocast: 16-bit D and masses are lifted to
float32, the type the solver computes them in, but where its kernels read 16 bits (CUDA).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.solver import kernels
from wbm_ext.solver.problem import UNROLLED, Options, Problem, Upstream, computed_in, found_at

_PROBLEM = "Tensor D, Tensor a, Tensor b, {epsilon}, Tensor kappa, Tensor? mask, int reference"
_library = torch.library.Library("wbm_ext", "DEF")
_library.define(
    f"solve({_PROBLEM.format(epsilon='Tensor? epsilon')}, "
    "int method, int criterion, int gradient, float tol, int max_iter, Tensor? init_g) "
    "-> (Tensor sharp, Tensor regularized, Tensor f, Tensor g, Tensor mass, Tensor residual, "
    "Tensor iterations, Tensor status, Tensor history, Tensor epsilon)",
    tags=torch.Tag.pt2_compliant_tag,
)
_library.define(
    "solve_backward(Tensor grad_sharp, Tensor grad_regularized, Tensor grad_f, Tensor grad_g, "
    f"{_PROBLEM.format(epsilon='Tensor epsilon')}, "
    "Tensor f, Tensor g, Tensor? iterations, Tensor? history, int gradient, int max_iter) "
    "-> (Tensor grad_D, Tensor grad_a, Tensor grad_b, Tensor residual)",
    tags=torch.Tag.pt2_compliant_tag,
)
_library.define("mean_cost(Tensor D, Tensor a, Tensor b, Tensor? mask) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
_NAMES = ("solve", "solve_backward", "mean_cost")


def _solve(*values: Any) -> tuple[Tensor, ...]:
    problem = Problem(*values[:7])
    solution, _, _ = kernels.solve(problem, Options(*values[7:]))
    if solution.history is None:
        solution = solution._replace(history=_no_history(problem.D))
    return tuple(solution)


def _solve_backward(*values: Any) -> tuple[Tensor, ...]:
    upstream, problem, (f, g, iterations, history, mode, max_iter) = values[:4], Problem(*values[4:11]), values[11:]
    solution = found_at(f, g, iterations, history)
    found, _ = kernels.gradient(problem, solution, Upstream(*upstream), mode, max_iter)
    d_D, d_a, d_b, residual = found
    return d_D, d_a.to(problem.a.dtype), d_b.to(problem.b.dtype), residual  # type: ignore[union-attr, return-value]


def _no_history(D: Tensor) -> Tensor:
    return D.new_empty((0,), dtype=torch.float64)


for _name, _kernel in zip(_NAMES, (_solve, _solve_backward, kernels.mean_cost), strict=True):
    for _device in ("CPU", "CUDA"):
        _library.impl(_name, _kernel, _device)


@torch.library.register_fake("wbm_ext::solve")
def _(*values: Any) -> tuple[Tensor, ...]:
    problem, options = Problem(*values[:7]), Options(*values[7:])
    D, (batch, n, m) = problem.D, problem.D.shape

    def real(*shape: Any) -> Tensor:
        return D.new_empty(shape, dtype=torch.float64)

    history = real(batch, options.max_iter + 1, n + m) if options.gradient == UNROLLED else _no_history(D)
    iterations, status = (D.new_empty((batch,), dtype=kind) for kind in (torch.int64, torch.int32))
    sharp, regularized = (D.new_empty((batch,), dtype=computed_in(D.dtype)) for _ in range(2))
    return (
        sharp, regularized, real(batch, n), real(batch, m), real(batch), real(batch), iterations, status, history,
        real(batch),
    )  # fmt: skip


@torch.library.register_fake("wbm_ext::solve_backward")
def _(*values: Any) -> tuple[Tensor, ...]:
    D, a, b = values[4:7]
    return (*(x.new_empty(x.shape) for x in (D, a, b)), D.new_empty((D.shape[0],), dtype=torch.float64))


@torch.library.register_fake("wbm_ext::mean_cost")
def _(D: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    return D.new_empty((D.shape[0],), dtype=torch.float64)


def _fold(x: Any, dim: int | None, size: int) -> Any:
    """(V, B, ...) as (V B, ...); what is no tensor, and the empty history, as it is."""
    if not isinstance(x, Tensor) or (dim is None and x.dim() == 1 and x.numel() == 0):
        return x
    x = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.reshape((size * x.shape[1], *x.shape[2:]))


def _batching_rule(name: str) -> Any:
    operator = getattr(torch.ops.wbm_ext, name).default

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        size = info.batch_size
        folded = [_fold(x, dim, size) for x, dim in zip(arguments, in_dims, strict=True)]
        outputs = operator(*folded)
        count = folded[4].shape[0] if name == "solve_backward" else folded[0].shape[0]

        def unfold(x: Tensor) -> tuple[Tensor, int | None]:
            shared = x.dim() == 1 and x.numel() == 0 and count > 0  # the empty history
            return (x, None) if shared else (x.reshape(size, count // size, *x.shape[1:]), 0)

        if isinstance(outputs, Tensor):
            return unfold(outputs)
        values, dims = zip(*map(unfold, outputs), strict=True)
        return values, dims

    return rule


for _name in _NAMES:
    torch.library.register_vmap(f"wbm_ext::{_name}", _batching_rule(_name))
    if hasattr(torch.library, "register_autocast"):  # torch 2.6 has none, and autocast leaves the operators alone
        for _device in ("cpu",) if BACKEND == "native" else ("cpu", "cuda"):
            torch.library.register_autocast(f"wbm_ext::{_name}", _device, torch.float32)
