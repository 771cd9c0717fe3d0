"""Mini-batches of units with the treated ones first, so that each group is a slice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_UNITS = 1 << 17


class Batch(NamedTuple):
    """``x`` (B, p); ``y`` (B,) factual outcomes; the first ``treated`` units are the treated ones."""

    x: Tensor
    y: Tensor
    treated: int

    @property
    def treatment(self) -> Tensor:
        """(B,) bool."""
        return torch.arange(len(self.y), device=self.y.device) < self.treated

    def factual(self, outcomes: Tensor) -> Tensor:
        """Of the outcomes (2, B) of both arms those of the arm that each unit is in, (B,)."""
        return outcomes.gather(0, self.treatment.long()[None]).view(-1)

    def counterfactual(self, outcomes: Tensor) -> Tensor:
        """Of the outcomes (2, B) of both arms those of the arm that each unit is not in, (B,)."""
        return outcomes.gather(0, (~self.treatment).long()[None]).view(-1)

    @property
    def one_group(self) -> bool:
        """True if one of the two groups is empty."""
        return self.treated in (0, len(self.y))


class UnitBatches:
    """All units once an epoch in random order, ``batch_size`` at a time.

    Parameters
    ----------
    x, y, treated : Tensor, shapes (n, p), (n,) and (n,) bool
    drop_last : bool
        Leave out the units that fill no whole batch, others in each epoch; never if there is no whole batch.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(
        self, x: Tensor, y: Tensor, treated: Tensor, batch_size: int, *, drop_last: bool, generator: torch.Generator
    ) -> None:
        self.x, self.y, self.treated, self.generator = x, y, treated, generator
        self.batch_size = min(batch_size, len(y))
        rest = len(y) % self.batch_size
        self.units = len(y) - (rest if drop_last else 0)

    def __len__(self) -> int:
        return -(-self.units // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.y), generator=self.generator).to(self.y.device)[: self.units]
        size = self.batch_size
        # Whole batches are gathered many at a time: a step then costs two views.
        for part in order.split(size * max(_UNITS // size, 1)):
            whole = len(part) // size * size
            for rows in (part[:whole].view(-1, size), part[whole:].view(1, -1)):
                if rows.numel():
                    yield from self._gather(rows)

    def _gather(self, rows: Tensor) -> Iterator[Batch]:
        first = torch.argsort(self.treated[rows].to(torch.uint8), dim=1, descending=True, stable=True)
        rows = rows.gather(1, first)
        counts = self.treated[rows].sum(1).tolist()
        for x, y, count in zip(self.x[rows].unbind(), self.y[rows].unbind(), counts, strict=True):
            yield Batch(x, y, count)
