"""Where relaxed mass (RMPR), outcomes in the cost (PFOR) and the two references help, and which criterion to trust.

On generated data, where the truth is known: PEHE with each part alone and both, against transport without them
("neither") and against no balancing at all (tarnet). One thing is varied at a time around a base point: how far
covariates decide the treatment (``overlap``), the share of outlying units (``outliers``), the share of treated units
(``treated``: the smaller, the more the groups of a batch differ in size and outcomes), a hidden confounder
(``hidden``), the batch size, κ, γ and λ.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from python_benchmarks._study import Cell, Ledger
from python_benchmarks._study.options import command, common, conduct_map
from python_benchmarks.treatment_effects.data import GENERATED, Source
from python_benchmarks.treatment_effects.evaluate import CRITERION, evaluate
from python_benchmarks.treatment_effects.protocol import (
    ABLATION,
    ENTROPY,
    NEITHER,
    OURS,
    PFOR,
    RMPR,
    RMPR_ENTROPY,
    VARIANTS,
    Row,
    row_cells,
)

BASE_DATA: dict[str, Any] = {"overlap": 0.5, "outliers": 0.0, "treated": 0.3, "hidden": 0.0}
BASE_PARAMS: dict[str, Any] = {"batch_size": 64, "kappa": 1.0, "gamma": 0.005, "balance_weight": 1.0}
HELD: dict[str, Any] = {"learning_rate": 0.003, "cost_scale": 1.0, "epsilon": 0.1}
"""With the package's cost scale 0.1 and ε = 1 all plans are near the product of their marginals on data of this scale,
and nothing could be told of RMPR."""

METRIC = "scaled_out"

ROWS = {row.label: row for row in (Row("tarnet", "tarnet"), Row(OURS, OURS), *VARIANTS, *ABLATION)}
RIVALS: dict[str, tuple[str, ...]] = {NEITHER: (RMPR, RMPR_ENTROPY, PFOR), "tarnet": (NEITHER, OURS, ENTROPY)}
"""Rival -> rows that are set against it."""

_EVERY = tuple((row, rival) for rival, rows in RIVALS.items() for row in rows)


@dataclass(frozen=True)
class Axis:
    """One quantity that is varied: its name for readers, where it stands, its values, what is compared along it."""

    title: str
    name: str
    values: tuple[float, ...]
    pairs: tuple[tuple[str, str], ...] = _EVERY

    @property
    def of_data(self) -> bool:
        return self.name in BASE_DATA

    @property
    def base(self) -> float:
        return (BASE_DATA if self.of_data else BASE_PARAMS)[self.name]


AXES = (
    Axis("overlap", "overlap", (0.25, 0.5, 1.0)),
    Axis("outliers", "outliers", (0.0, 0.1, 0.3)),
    Axis("treated share", "treated", (0.1, 0.3, 0.5)),
    Axis("hidden confounding", "hidden", (0.0, 1.0, 2.0)),
    Axis("batch size", "batch_size", (32, 64, 128)),
    Axis("κ", "kappa", (0.1, 1.0, 5.0, 20.0), ((RMPR, NEITHER), (RMPR_ENTROPY, NEITHER))),
    Axis("γ", "gamma", (0.0005, 0.005, 0.05, 0.5), ((PFOR, NEITHER),)),
    Axis("λ", "balance_weight", (0.1, 0.3, 1.0, 3.0), ((NEITHER, "tarnet"), (OURS, "tarnet"), (ENTROPY, "tarnet"))),
)


@dataclass(frozen=True)
class Design:
    """What is run: axes, units of a draw, parameters of all systems, draws."""

    axes: Sequence[Axis] = AXES
    units: int = 700
    held: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 5

    def points(self) -> list[tuple[Axis, float]]:
        """Every axis at every value; the base point occurs once an axis."""
        return [(axis, value) for axis in self.axes for value in axis.values]

    def cells(self, row: str, axis: Axis, value: float) -> list[Cell]:
        """The runs of a row at a point."""
        data = {"n": self.units, **BASE_DATA} | ({axis.name: value} if axis.of_data else {})
        params = {**BASE_PARAMS, **HELD} | ({} if axis.of_data else {axis.name: value})
        one = ROWS[row]
        base = {(one.system, GENERATED): {**params, **self.held}}
        return row_cells(one, Source(GENERATED, data), base, self.seeds)

    def all_cells(self) -> list[Cell]:
        """Every run, seeds outermost; those of equal content once."""
        every = [
            cell
            for axis, value in self.points()
            for row in dict.fromkeys(name for pair in axis.pairs for name in pair)
            for cell in self.cells(row, axis, value)
        ]
        return sorted({cell.key(): cell for cell in every}.values(), key=lambda cell: cell.seed)

    def metrics(self, ledger: Ledger, row: str, axis: Axis, value: float) -> dict[int, dict[str, float]]:
        """Seed -> metrics of the finished runs."""
        found = {cell.seed: ledger.get(cell) for cell in self.cells(row, axis, value)}
        return {seed: record["metrics"] for seed, record in found.items() if record is not None}

    def sample(self, ledger: Ledger, row: str, axis: Axis, value: float, rule: str = CRITERION) -> dict[int, float]:
        """Seed -> out-of-sample PEHE / sd(τ)."""
        return {seed: one[f"{rule}.{METRIC}"] for seed, one in self.metrics(ledger, row, axis, value).items()}


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.treatment_effects when",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--units", type=int, default=700, help="of a draw")
    common(line, seeds=5, out="results/treatment_effects_when")
    return line


def main(argv: list[str]) -> int:
    from python_benchmarks.treatment_effects import when_report

    options = parser().parse_args(argv)
    held = {} if options.epochs is None else {"epochs": options.epochs}
    design = Design(units=options.units, held=held, seeds=options.seeds)
    text = command(parser(), options, "python_benchmarks.treatment_effects", "when")
    return conduct_map(
        options, design.all_cells(), evaluate,
        lambda ledger, outcome: when_report.write(design, ledger, outcome, options.out, text),
    )  # fmt: skip
