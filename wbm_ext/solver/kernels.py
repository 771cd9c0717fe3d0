"""The CPU kernels: tensors in, addresses to the compiled module, tensors out.

One call with numbers only (``Numbers`` in ``csrc/binding/module.cpp``). Potentials are float64; D, the two costs, the
masses and the gradients in them have their own types.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext._native import core
from wbm_ext.solver.reference.iteration import UNROLLED

_REAL = torch.float64

SAVED_BYTES = 1 << 25  # of D: the plan of a larger problem is evaluated anew in the backward, not kept for it

Solved = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """The type of a solve's costs, masses and sums for D of ``dtype``: float32 for 16 bits."""
    return _REAL if dtype == _REAL else torch.float32


def unit_columns(matrix: Tensor) -> Tensor:
    """The same matrix with column stride 1 (rows and problems may have any stride, also 0)."""
    return matrix if matrix.stride(-1) == 1 or matrix.shape[-1] == 1 else matrix.contiguous()


_NAN, _INF = float("nan"), float("inf")


def _upstream(values: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if values is None or (values.dtype == dtype and values.is_contiguous()):
        return values
    return values.to(dtype).contiguous()


class Numbers:
    """A batch of problems in numbers, together with the tensors its addresses point into.

    D and mask are (B, n, m), or (n, m) of a single problem; a and b likewise or None (uniform); epsilon a number, a
    tensor or None (0.05 times the mean of D); kappa two numbers or a tensor.
    """

    __slots__ = ("alive", "cost", "masses", "numbers")

    def __init__(
        self,
        cost: Tensor,
        a: Tensor | None,
        b: Tensor | None,
        epsilon: float | Tensor | None,
        kappa: tuple[float, float] | Tensor,
        mask: Tensor | None,
        reference: int,
    ) -> None:
        cost = unit_columns(cost)
        strides = cost.stride()
        shape = cost.shape if len(strides) == 3 else (1, *cost.shape)
        masses = cost.dtype
        if (a is not None and a.dtype != masses) or (b is not None and b.dtype != masses):
            masses = _REAL
        a, b = _upstream(a, masses), _upstream(b, masses)
        mask_address = mask_problem = mask_row = 0
        if mask is not None:
            mask = unit_columns(mask)
            mask_address, mask_row = mask.data_ptr(), mask.stride(-2)
            mask_problem = mask.stride(0) if mask.dim() == 3 else 0
        epsilon_address, epsilon_value = 0, _NAN
        if isinstance(epsilon, Tensor):
            epsilon = _upstream(epsilon, _REAL)
            epsilon_address = epsilon.data_ptr()  # type: ignore[union-attr]
        elif epsilon is not None:
            epsilon_value = epsilon
        kappa_address, rows, columns = 0, _NAN, _NAN
        if isinstance(kappa, Tensor):
            kappa = _upstream(kappa, _REAL)  # type: ignore[assignment]
            kappa_address = kappa.data_ptr()  # type: ignore[union-attr]
        else:
            rows, columns = kappa
        self.cost, self.masses = cost, masses
        self.alive = (a, b, mask, epsilon, kappa)
        self.numbers = (
            *shape,
            cost.data_ptr(),
            strides[0] if len(strides) == 3 else 0,
            strides[-2],
            mask_address,
            mask_problem,
            mask_row,
            0 if a is None else a.data_ptr(),
            0 if b is None else b.data_ptr(),
            epsilon_address,
            epsilon_value,
            kappa_address,
            rows,
            columns,
            cost.dtype == _REAL,
            masses == _REAL,
            reference,
        )


def solve(
    numbers: Numbers,
    how: tuple[int, int, float, int],
    init_g: Tensor | None,
    outputs: tuple[Tensor, ...],
    report: tuple[int, ...],
    history: Tensor | None,
    keep: bool = False,
) -> tuple[bool, Any]:
    """One call of the CPU solver: whether every problem converged, and with ``keep`` what ``gradient`` may go on from.

    ``how`` is method, criterion, tol, max_iter; the outputs are sharp, regularized (type of D), f, g; the report holds
    the addresses of the epsilon used, mass, residual, iterations and status; no history: not kept.
    """
    init_g = _upstream(init_g, _REAL)
    return core.cpu_solve(
        numbers.numbers,
        (*how, 0 if init_g is None else init_g.data_ptr(), torch.get_num_threads()),
        (*[x.data_ptr() for x in outputs], *report, address(history)),
        keep and numbers.cost.numel() * numbers.cost.element_size() <= SAVED_BYTES,
    )


def gradient(
    numbers: Numbers,
    mode: int,
    max_iter: int,
    solution: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    upstream: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    wanted: tuple[bool, bool, bool],
    kept: Any = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor, float]:
    """Gradients in D, a and b (None where not wanted), each problem's residual, and the largest of these.

    ``solution`` is f, g, and for the unrolled mode iterations and history; ``upstream`` are the gradients on sharp,
    regularized, f and g, None for 0; ``kept`` is what the solve of the same problem, unchanged since, has kept.
    """
    f, g, iterations, history = solution
    cost, kind = numbers.cost, numbers.cost.dtype
    lead, (n, m) = cost.shape[:-2], cost.shape[-2:]
    up = (
        _upstream(upstream[0], kind),
        _upstream(upstream[1], kind),
        _upstream(upstream[2], _REAL),
        _upstream(upstream[3], _REAL),
    )
    f, g = f.contiguous(), g.contiguous()
    # The unrolled gradient gathers in D's, wanted or not.
    d_cost = torch.empty(cost.shape, dtype=kind) if wanted[0] or mode == UNROLLED else None
    d_a = torch.empty((*lead, n), dtype=numbers.masses) if wanted[1] else None
    d_b = torch.empty((*lead, m), dtype=numbers.masses) if wanted[2] else None
    residual = torch.empty(lead, dtype=_REAL)
    largest = core.cpu_gradient(
        numbers.numbers,
        (mode, max_iter, address(iterations), address(history), torch.get_num_threads()),
        (f.data_ptr(), g.data_ptr(), *[address(x) for x in up]),
        (address(d_cost), address(d_a), address(d_b), residual.data_ptr()),
        kept,
    )
    return d_cost, d_a, d_b, residual, largest


def allocate(cost: Tensor, max_iter: int, unrolled: bool, kind: torch.dtype) -> Solved:
    """Room for the operator's outputs, the two costs of type ``kind``."""
    batch, n, m = cost.shape

    def empty(*shape: int, dtype: torch.dtype = _REAL) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=cost.device)

    history = empty(batch, max_iter + 1, n + m) if unrolled else empty(0)
    return (
        empty(batch, dtype=kind),
        empty(batch, dtype=kind),
        empty(batch, n),
        empty(batch, m),
        empty(batch),
        empty(batch),
        empty(batch, dtype=torch.int64),
        empty(batch, dtype=torch.int32),
        history,
    )


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
    out = allocate(cost, max_iter, gradient == 2, cost.dtype)
    used = torch.empty_like(out[4])
    report = tuple([x.data_ptr() for x in (used, *out[4:8])])
    numbers = Numbers(cost, a, b, epsilon, kappa, mask, reference)
    solve(numbers, (method, criterion, tol, max_iter), init_g, out[:4], report, out[8] if gradient == 2 else None)
    return out


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
    mode: int,
    max_iter: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers = Numbers(cost, a, b, epsilon, kappa, mask, reference)
    solution = (f, g, iterations, history if history.numel() else None)
    upstream = (grad_sharp, grad_regularized, grad_f, grad_g)
    d_cost, d_a, d_b, residual, _ = gradient(numbers, mode, max_iter, solution, upstream, (True, True, True))
    assert d_cost is not None
    assert d_a is not None
    assert d_b is not None
    return d_cost, d_a.to(a.dtype), d_b.to(b.dtype), residual


def mean_cost_cpu(cost: Tensor, a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    mean = torch.empty(cost.shape[0], dtype=_REAL)
    numbers = Numbers(cost, a, b, 1.0, (_INF, _INF), mask, 0)
    core.cpu_mean(numbers.numbers, mean.data_ptr(), torch.get_num_threads())
    return mean
