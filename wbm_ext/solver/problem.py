"""The records of a solve, and the integers of ``csrc/problem.h`` by the names of the options.

A :class:`Problem` and :class:`Options` go in, a :class:`Solution` comes out; an :class:`Upstream` is what a backward
starts from. They are what crosses every boundary: checks, autograd, registered operators (whose arguments are the
fields of these records, in their order), kernels, and the twin in plain torch.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

ENTROPY, PRODUCT = 0, 1
SINKHORN, AUTO = 0, 1
MARGINAL, SCALING = 0, 1
IMPLICIT, FROZEN, UNROLLED = 0, 1, 2
BITS16 = {torch.float16: 1, torch.bfloat16: 2}  # read as they are on CUDA

REFERENCES = {"entropy": ENTROPY, "product": PRODUCT}
METHODS = {"sinkhorn": SINKHORN, "auto": AUTO}
CRITERIA = {"marginal": MARGINAL, "scaling": SCALING}
GRADIENTS = {"implicit": IMPLICIT, "frozen": FROZEN, "unrolled": UNROLLED}

ReferenceName = Literal["entropy", "product"]
MethodName = Literal["auto", "sinkhorn"]
CriterionName = Literal["marginal", "scaling"]
GradientName = Literal["implicit", "unrolled", "frozen"]
CostName = Literal["sharp", "regularized"]
ValidationName = Literal["auto", "full", "none"]
COSTS: tuple[str, ...] = get_args(CostName)
VALIDATIONS: tuple[str, ...] = get_args(ValidationName)

Strength = float | Tensor
Kappa = Strength | tuple[Strength, Strength]


class Problem(NamedTuple):
    """A batch of problems; no tensor has more than one batch dimension, and all have it or none has."""

    D: Tensor  # (n, m) or (B, n, m)
    a: Tensor | None  # (n,) or (B, n); None: uniform with total 1
    b: Tensor | None
    epsilon: Strength | None  # a number, () or (B,); None: 0.05 times the mean of D
    kappa: tuple[float, float] | Tensor  # rows and columns, inf = hard; a tensor is (2,) or (B, 2)
    mask: Tensor | None  # of the shape of D
    reference: int

    def batched(self) -> Problem:
        """The same with a batch dimension, and every default but that of epsilon as a tensor."""
        D, a, b, epsilon, kappa, mask, reference = self
        n, m = D.shape[-2:]
        count, device, real = math.prod(D.shape[:-2]), D.device, torch.float64

        def masses(mass: Tensor | None, size: int) -> Tensor:
            if mass is None:
                return torch.full((count, size), 1.0 / size, dtype=real, device=device)
            return mass.reshape(count, size)

        if epsilon is not None and not isinstance(epsilon, Tensor):
            epsilon = torch.full((count,), epsilon, dtype=real, device=device)
        if not isinstance(kappa, Tensor):
            kappa = torch.cat([torch.full((count, 1), k, dtype=real, device=device) for k in kappa], 1)
        return Problem(
            D.reshape(count, n, m),
            masses(a, n),
            masses(b, m),
            None if epsilon is None else epsilon.reshape(count),
            kappa.reshape(count, 2),
            None if mask is None else mask.reshape(count, n, m),
            reference,
        )


# The fields of a Problem of which nothing is left to a default, with a batch dimension.
Batched = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, int]


class Options(NamedTuple):
    """How to solve."""

    method: int
    criterion: int
    gradient: int
    tol: float
    max_iter: int
    init_g: Tensor | None  # (m,) or (B, m): the g to start from


class Solution(NamedTuple):
    """What a solve has found; tensors have the batch dimension of the problem, and None was not wanted."""

    sharp: Tensor  # ()
    regularized: Tensor  # ()
    f: Tensor  # (n,)
    g: Tensor  # (m,)
    mass: Tensor  # ()
    residual: Tensor  # ()
    iterations: Tensor  # () int64
    status: Tensor  # () int32
    history: Tensor  # (max_iter + 1, n + m): f and g after every iteration of an unrolled solve, else empty
    epsilon: Tensor  # (): what was used


def found_at(f: Tensor, g: Tensor, iterations: Tensor | None, history: Tensor | None) -> Solution:
    """What a backward needs of a solution."""
    return Solution(None, None, f, g, None, None, iterations, None, history, None)  # type: ignore[arg-type]


class Upstream(NamedTuple):
    """The gradients of a loss in the differentiable fields of a :class:`Solution`; None is 0."""

    sharp: Tensor | None
    regularized: Tensor | None
    f: Tensor | None
    g: Tensor | None


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """The type of a solve's costs, masses and sums for D of ``dtype``: float32 for 16 bits."""
    return torch.float64 if dtype == torch.float64 else torch.float32
