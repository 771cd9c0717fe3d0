"""The two groups of a batch as the two sides of a transport problem."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wbm_ext.solver.checks import is_transformed

NEGATIVE_INFINITY = float("-inf")


def fixed_shapes(x: Tensor) -> bool:
    """No shape may depend on data: inside compiler, export and ``torch.func``, or while a CUDA graph is captured."""
    return is_transformed(x) or (x.is_cuda and torch.cuda.is_current_stream_capturing())


@dataclass(frozen=True)
class Groups:
    """Samples of a batch that are the rows, and those that are the columns.

    Selected (``padded`` False): ``rows`` and ``columns`` are indices, ``present`` says whether both hold any. Padded:
    every sample stands on both sides, ``rows`` and ``columns`` are bool, and who is not of a group has mass 0 there.
    Zero masses change neither value nor gradient, so both forms are the same loss; the second costs B² entries in the
    place of n m, and needs neither a data-dependent shape nor a look at the device. Where a group is empty, all samples
    stand in for it and ``present`` (a tensor) switches the value off.
    """

    rows: Tensor
    columns: Tensor
    padded: bool
    present: bool | Tensor

    def row(self, x: Tensor) -> Tensor:
        return x if self.padded else x[self.rows]

    def column(self, x: Tensor) -> Tensor:
        return x if self.padded else x[self.columns]

    def row_masses(self, log_weights: Tensor) -> Tensor:
        return self._masses(log_weights, self.rows)

    def column_masses(self, log_weights: Tensor) -> Tensor:
        return self._masses(log_weights, self.columns)

    def _masses(self, log_weights: Tensor, members: Tensor) -> Tensor:
        """softmax over the members of a group."""
        if self.padded:
            return log_weights.masked_fill(~members, NEGATIVE_INFINITY).softmax(0)
        return log_weights[members].softmax(0)

    def cost(self, D: Tensor) -> Tensor:
        """D, or 1 everywhere when a group is empty: nothing can then fail, and no gradient passes."""
        return torch.where(self.present, D, 1.0) if isinstance(self.present, Tensor) else D

    def value(self, value: Tensor) -> Tensor:
        """The value, 0 when a group is empty."""
        return torch.where(self.present, value, 0.0) if isinstance(self.present, Tensor) else value

    def members(self, like: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """1 for the members of either group, 0 for the others; None where all rows and columns are members."""
        return (self.rows.to(like.dtype), self.columns.to(like.dtype)) if self.padded else (None, None)


def split(treated: Tensor, *, against: str = "untreated") -> Groups:
    """Rows: the treated samples of a bool tensor (B,). Columns: the untreated ones, or ``against="all"`` of them."""
    other = ~treated if against == "untreated" else torch.ones_like(treated)
    if fixed_shapes(treated):
        some, others = treated.any(), other.any()
        return Groups(treated | ~some, other | ~others, True, some & others)
    rows, columns = treated.nonzero().squeeze(1), other.nonzero().squeeze(1)
    return Groups(rows, columns, False, len(rows) > 0 and len(columns) > 0)
