"""Types of the compiled module, csrc/binding/module.cpp. Addresses are those of ``Tensor.data_ptr()``; 0 is none."""

from typing import TypeAlias

_Address: TypeAlias = int
_Clouds: TypeAlias = tuple[_Address, _Address, _Address, _Address, int, int, int]  # x, y, a, b, n, m, dimension
_Problem: TypeAlias = tuple[
    *tuple[int, int, int],  # batch, n, m
    *tuple[_Address, int, int],  # D, its problem and row strides
    *tuple[_Address, int, int],  # mask, its strides
    *tuple[_Address, _Address],  # a, b
    *tuple[_Address, float],  # epsilon: where, or one value
    *tuple[_Address, float, float],  # kappa: where, or those of rows and columns
    *tuple[bool, int, bool, bool],  # D in float64, its type of 16 bits, masses in float64, costs in float64
    int,  # reference
]
_Options: TypeAlias = tuple[int, int, float, int, _Address, int]  # method, criterion, tol, max_iter, init_g, threads
_Solution: TypeAlias = tuple[
    *tuple[_Address, _Address, _Address, _Address],  # sharp, regularized, f, g
    *tuple[_Address, _Address, _Address, _Address],  # mass, residual, iterations, status
    *tuple[_Address, _Address],  # history, epsilon
]
_GradientOptions: TypeAlias = tuple[int, int, _Address, _Address, int]  # mode, max_iter, iterations, history, threads
_GradientInputs: TypeAlias = tuple[
    *tuple[_Address, _Address],  # f, g
    *tuple[_Address, _Address, _Address, _Address],  # upstream on sharp, regularized, f, g
]
_GradientOutputs: TypeAlias = tuple[_Address, _Address, _Address, _Address]  # in D, a, b; residual

_Sets: TypeAlias = tuple[int, int, int, int, bool, int]  # batch, n, m, k, float64, threads
_Columns: TypeAlias = tuple[_Address, int, int]  # data, row and column strides
_LossSolve: TypeAlias = tuple[
    *tuple[int, float, int],  # method, tol, max_iter
    *tuple[float, float, float],  # epsilon (NaN: the default), kappa of rows and columns
    *tuple[int, int, int, bool],  # reference, gradient, threads, differentiable
]

compiler: str
cuda_architectures: str
codes: dict[str, dict[str, int]]  # the enumerations of csrc/problem.h

class CloudSolution:
    def report(self) -> tuple[float, float, float, float, float, int, int]: ...
    def potentials(self, f: _Address, g: _Address) -> None: ...
    def gradient(
        self, sharp: float, regularized: float, where: tuple[_Address, _Address, _Address, _Address], threads: int
    ) -> float: ...
    def product(self, v: _Address, transposed: bool, out: _Address, threads: int) -> None: ...
    def extend(self, z: _Address, count: int, columns: bool, out: _Address, threads: int) -> None: ...

class SavedPlans: ...
class BalanceLoss: ...
class OutcomeLoss: ...

def instruction_set() -> str: ...
def cpu_mean_cost(problem: _Problem, mean: _Address, threads: int) -> None: ...
def cpu_solve(
    problem: _Problem, options: _Options, solution: _Solution, save: bool
) -> tuple[SavedPlans | None, tuple[list[int], list[float]] | None]: ...
def cpu_gradient(
    problem: _Problem,
    options: _GradientOptions,
    inputs: _GradientInputs,
    outputs: _GradientOutputs,
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
def solve_clouds(
    numbers: _Clouds, how: tuple[float, float, float, int, bool, float, int, int, int]
) -> CloudSolution: ...
def mean_cloud_cost(numbers: _Clouds, euclidean: bool) -> float: ...
def cuda_device_count() -> int: ...
def cuda_workspace_bytes(problem: _Problem) -> int: ...
def cuda_solve(
    problem: _Problem, options: _Options, solution: _Solution, workspace: _Address, stream: _Address
) -> None: ...
def cuda_gradient_workspace_bytes(problem: _Problem, mode: int) -> int: ...
def cuda_gradient(
    problem: _Problem,
    options: _GradientOptions,
    inputs: _GradientInputs,
    outputs: _GradientOutputs,
    workspace: _Address,
    stream: _Address,
) -> None: ...
