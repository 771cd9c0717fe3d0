"""Types of the compiled module, csrc/binding/module.cpp. Addresses are those of ``Tensor.data_ptr()``; 0 is none."""

from typing import TypeAlias

_Address: TypeAlias = int
_Numbers: TypeAlias = tuple[
    *tuple[int, int, int],  # batch, n, m
    *tuple[_Address, int, int],  # D, its problem and row strides
    *tuple[_Address, int, int],  # mask, its strides
    *tuple[_Address, _Address],  # a, b
    *tuple[_Address, float],  # epsilon: where, or one value
    *tuple[_Address, float, float],  # kappa: where, or those of rows and columns
    *tuple[bool, bool, int],  # D in float64, masses in float64, reference
]

_Sets: TypeAlias = tuple[int, int, int, int, bool, int]  # batch, n, m, k, float64, threads
_Columns: TypeAlias = tuple[_Address, int, int]  # data, row and column strides
_LossSolve: TypeAlias = tuple[
    *tuple[int, float, int],  # method, tol, max_iter
    *tuple[float, float, float],  # epsilon (NaN: the default), kappa of rows and columns
    *tuple[int, int, int, bool],  # reference, gradient, threads, differentiable
]

compiler: str
cuda_architectures: str

class Problem:
    batch: int
    n: int
    m: int
    float64: bool
    bits16: int
    cost_stride_problem: int
    cost_stride_row: int
    mask_stride_problem: int
    mask_stride_row: int
    reference: int
    cost: _Address
    mask: _Address
    a: _Address
    b: _Address
    epsilon: _Address
    kappa: _Address
    def __init__(self) -> None: ...

class Options:
    def __init__(
        self, method: int, criterion: int, tol: float, max_iter: int, init_g: _Address, threads: int
    ) -> None: ...

class Solution:
    def __init__(
        self,
        f: _Address,
        g: _Address,
        sharp: _Address,
        regularized: _Address,
        mass: _Address,
        residual: _Address,
        iterations: _Address,
        status: _Address,
        history: _Address,
    ) -> None: ...

class Adjoint:
    def __init__(
        self,
        mode: int,
        f: _Address,
        g: _Address,
        grad_sharp: _Address,
        grad_regularized: _Address,
        grad_f: _Address,
        grad_g: _Address,
        grad_cost: _Address,
        grad_a: _Address,
        grad_b: _Address,
        residual: _Address,
        history: _Address,
        iterations: _Address,
        max_iter: int,
        threads: int,
    ) -> None: ...

class SavedPlans: ...
class BalanceLoss: ...
class OutcomeLoss: ...

def instruction_set() -> str: ...
def cpu_forward(problem: Problem, options: Options, solution: Solution) -> None: ...
def cpu_backward(problem: Problem, adjoint: Adjoint) -> None: ...
def cpu_mean(numbers: _Numbers, mean: _Address, threads: int) -> None: ...
def cpu_solve(
    numbers: _Numbers,
    how: tuple[int, int, float, int, _Address, int],
    where: tuple[_Address, _Address, _Address, _Address, _Address, _Address, _Address, _Address, _Address, _Address],
    keep: bool,
) -> tuple[bool, SavedPlans | None]: ...
def cpu_gradient(
    numbers: _Numbers,
    how: tuple[int, int, _Address, _Address, int],
    from_: tuple[_Address, _Address, _Address, _Address, _Address, _Address],
    where: tuple[_Address, _Address, _Address, _Address],
    saved: SavedPlans | None,
) -> float: ...
def cpu_squared_distances(x: _Address, y: _Address, sets: _Sets, out: _Address) -> None: ...
def cpu_distances_gradient(
    w: _Address, x: _Address, y: _Address, sets: _Sets, d_x: _Address, d_y: _Address
) -> None: ...
def cpu_balance_loss(
    q: _Address,
    treated: _Address,
    size: int,
    phi: tuple[_Address, int, int],
    how: tuple[bool, bool, bool, float, float, bool, bool],
    solve: _LossSolve,
    value: _Address,
) -> tuple[BalanceLoss | None, int, float, float, float, float]: ...
def cpu_outcome_loss(
    r: tuple[_Address, int, int, int],
    treated: _Address,
    d: int,
    factual: _Columns,
    other: _Columns,
    how: tuple[bool, float, float],
    solve: _LossSolve,
    value: _Address,
) -> tuple[OutcomeLoss | None, int, float, float, float, float]: ...
def cpu_balance_gradient(
    loss: BalanceLoss, q: _Address, phi: _Address, stride: int, upstream: _Address, d_q: _Address, d_phi: _Address
) -> float: ...
def cpu_outcome_gradient(
    loss: OutcomeLoss, upstream: _Address, d_r: _Address, d_other: _Address, row: int, column: int
) -> float: ...
def cuda_device_count() -> int: ...
def cuda_workspace_bytes(problem: Problem) -> int: ...
def cuda_forward(
    problem: Problem, options: Options, solution: Solution, workspace: _Address, stream: _Address
) -> None: ...
def cuda_backward_workspace_bytes(problem: Problem, mode: int) -> int: ...
def cuda_backward(problem: Problem, adjoint: Adjoint, workspace: _Address, stream: _Address) -> None: ...
