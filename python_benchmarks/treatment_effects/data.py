"""The data sets of the study, their runs, and the three parts of each run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from python_benchmarks._study import Cell
from python_benchmarks._study.cells import canonical
from wbm_ext.datasets import Treatments, load

ACIC, IHDP, GENERATED = "acic2016", "ihdp", "synthetic-effects"
NAMES = (ACIC, IHDP, GENERATED)
CONSTANT = (2, 3)
"""Files of ACIC with one effect for all: sd(τ) is 0, and an order of the units means nothing."""

REALISATIONS = 10
FRACTIONS = (0.70, 0.15, 0.15)


@dataclass(frozen=True)
class Source:
    """A data set and what its reader is told; its runs are numbered 0, 1, ...

    Run s of an ACIC file is seed s: split, initial values, order of the batches. Run s of IHDP is realisation s + 1
    under seed s: other outcomes in each. Run s of generated data is a draw of its own.
    """

    data: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"ACIC {self.params['file']}" if self.data == ACIC else "IHDP" if self.data == IHDP else "generated"

    @property
    def constant(self) -> bool:
        """One effect for all units."""
        return self.data == ACIC and self.params["file"] in CONSTANT

    def runs(self, count: int) -> list[tuple[int, dict[str, Any]]]:
        """Seed and parameters of the reader of each of at most ``count`` runs."""
        if self.data == IHDP:
            return [(run, {"realisation": run + 1}) for run in range(min(count, REALISATIONS))]
        return [(run, dict(self.params)) for run in range(count)]


@dataclass(frozen=True)
class Parts:
    """70 % to train on, 15 % to choose epochs by, 15 % that are reported, with equal shares of treated units."""

    train: Treatments
    validation: Treatments
    test: Treatments


def parts(cell: Cell) -> Parts:
    """Read or generate a cell's data, and split by its seed."""
    options = dict(cell.data_params) | ({"random_state": cell.seed} if cell.data == GENERATED else {})
    return Parts(*dataset(cell.data, canonical(options)).split(FRACTIONS, cell.seed))


@functools.lru_cache(maxsize=8)
def dataset(name: str, options: str) -> Treatments:
    """Read or generate; ``options`` is JSON."""
    data = load(name, **json.loads(options))
    assert isinstance(data, Treatments)
    return data
