"""What the regulariser of a row did in its runs, and whether it did anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wbm_ext.ite import create

if TYPE_CHECKING:
    from python_benchmarks.treatment_effects.data import Source
    from python_benchmarks.treatment_effects.protocol import Row
    from python_benchmarks.treatment_effects.results import Results

LEAST_MASS = 0.05
"""Transported mass below which a plan moves nothing."""

LEAST_CHANGE = 0.02
"""Relative change of the discrepancy between its first and its last epoch below which it is unchanged."""


def diagnostics(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the epochs of a fit: figures of the last one, and the discrepancy of the first that has one."""
    names = ("transported_mass", "residual", "discrepancy", "one_group")
    found = {name: value for name, value in records[-1].items() if name in names}
    start = next((record["discrepancy"] for record in records if "discrepancy" in record), None)
    return found if start is None else found | {"discrepancy_start": start}


@dataclass(frozen=True)
class Effect:
    """Means over the runs of a row on a data set; None where a row has no such figure.

    Attributes
    ----------
    start, end : float or None
        Discrepancy of the first and the last epoch.
    mass : float or None
        Transported mass of the last epoch.
    weight : float
        λ.
    """

    start: float | None
    end: float | None
    mass: float | None
    weight: float

    @property
    def effective_weight(self) -> float:
        """λ times the mass: what λ is worth against a plan of mass 1."""
        return self.weight if self.mass is None else self.weight * self.mass

    @property
    def inert(self) -> bool:
        """Whether the plan moved nothing, or the discrepancy ended where it began."""
        if self.mass is not None and self.mass < LEAST_MASS:
            return True
        if self.start is None or self.end is None:
            return False
        return abs(self.end - self.start) <= LEAST_CHANGE * abs(self.start)


def effect(records: Mapping[int, Mapping[str, Any]], weight: float) -> Effect | None:
    """Of the runs of a row; None where none has a discrepancy."""
    seen = [record.get("diagnostics", {}) for record in records.values()]

    def mean(name: str) -> float | None:
        values = [one[name] for one in seen if name in one and math.isfinite(one[name])]
        return float(np.mean(values)) if values else None

    start, end, mass = mean("discrepancy_start"), mean("discrepancy"), mean("transported_mass")
    return None if end is None and mass is None else Effect(start, end, mass, weight)


def of_row(results: Results, row: Row, source: Source) -> Effect | None:
    """The effect of a row's regulariser on a data set."""
    given = {**results.parameters.get((row.system, source.data), results.held), **row.params}
    weight = given.get("balance_weight", create(row.system).get_params().get("balance_weight", 0.0))
    return effect(results.records(row, source), float(weight))


def mark(results: Results, row: Row, source: Source) -> str:
    """ " (inert)" behind the label of a row whose regulariser did nothing; such a row is the system without it."""
    found = of_row(results, row, source)
    return " (inert)" if found is not None and found.inert else ""


def lines(results: Results, rows: Sequence[Row]) -> list[list[str]]:
    """Table of all rows that have a regulariser, a line a data set."""

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    table = []
    for row in rows:
        for source in results.sources:
            found = of_row(results, row, source)
            if found is not None:
                figures = (found.start, found.end, found.mass, found.weight, found.effective_weight)
                table.append([row.label, source.label, *map(text, figures), "inert" if found.inert else ""])
    return table


HEAD = ("row", "data", "discrepancy, first epoch", "last epoch", "transported mass", "λ", "λ x mass", "")
