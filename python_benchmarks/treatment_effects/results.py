"""From the ledger to figures: samples, summaries, comparisons, the rows of the CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from python_benchmarks._study import (
    Difference,
    Found,
    Ledger,
    Outcome,
    Summary,
    holm,
    paired,
    summarize,
)
from python_benchmarks._study.published import Beside
from python_benchmarks.treatment_effects import published
from python_benchmarks.treatment_effects.data import Source
from python_benchmarks.treatment_effects.judging import RULES
from python_benchmarks.treatment_effects.protocol import Parameters, Row, row_cells, table_rows

TITLES = {
    "pehe": "PEHE",
    "auuc": "AUUC",
    "scaled": "PEHE / sd(τ)",
    "ate": "ε_ATE",
    "att": "ε_ATT",
    "rmse_f": "RMSE_F",
    "rmse_cf": "RMSE_CF",
}


def title(metric: str) -> str:
    """E.g. "PEHE out"."""
    name, _, place = metric.rpartition("_")
    return f"{TITLES[name]} {place}"


@dataclass
class Results:
    """A finished or broken-off study: what was asked for, and where the runs are.

    ``criterion`` is the rule that chooses epochs where no other is named.
    """

    ledger: Ledger
    names: Sequence[str]
    sources: Sequence[Source]
    swept: Sequence[Source]
    tables: Sequence[str]
    figures: Sequence[str]
    seeds: int
    parameters: Parameters
    outcome: Outcome
    criterion: str
    sweep_seeds: int = 3
    found: dict[str, Found] = field(default_factory=dict)
    search_seeds: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """Of Table 1."""
        return table_rows(self.names)

    @property
    def goal(self) -> list[Source]:
        """The data sets whose effects differ from unit to unit."""
        return [source for source in self.sources if not source.constant]

    def records(self, row: Row, source: Source, **params: Any) -> dict[int, dict[str, Any]]:
        """Run -> record, of the runs that are finished."""
        cells = row_cells(row, source, self.parameters, self.seeds, **params)
        found = {cell.seed: self.ledger.get(cell) for cell in cells}
        return {seed: record for seed, record in found.items() if record is not None}

    def sample(self, metric: str, row: Row, source: Source, rule: str | None = None, **params: Any) -> dict[int, float]:
        """Run -> value; empty where nothing was run."""
        name = f"{rule or self.criterion}.{metric}"
        values = {seed: one["metrics"].get(name) for seed, one in self.records(row, source, **params).items()}
        return {seed: value for seed, value in values.items() if value is not None}

    def summary(self, metric: str, row: Row, source: Source, rule: str | None = None, **params: Any) -> Summary | None:
        values = self.sample(metric, row, source, rule, **params)
        return summarize(values.values()) if values else None

    def swept_summary(self, metric: str, row: Row, source: Source, **params: Any) -> Summary | None:
        """As :meth:`summary`, over the seeds that every setting of a sweep has."""
        values = self.sample(metric, row, source, **params)
        values = {seed: value for seed, value in values.items() if seed < self.sweep_seeds}
        return summarize(values.values()) if values else None

    def scores(self, rows: Iterable[Row], rule: str | None = None) -> dict[str, dict[str, dict[int, float]]]:
        """Row -> data set -> run -> out-of-sample PEHE / sd(τ), for :mod:`ranks`."""
        found = {
            row.label: {source.label: self.sample("scaled_out", row, source, rule) for source in self.goal}
            for row in rows
        }
        return {label: by_data for label, by_data in found.items() if any(by_data.values())}


def pooled(results: Results, metric: str, row: Row, sources: Sequence[Source], rule: str | None = None) -> dict:
    """Run -> value over several data sets; runs are numbered on, 1000 a data set."""
    return {
        1000 * place + run: value
        for place, source in enumerate(sources)
        for run, value in results.sample(metric, row, source, rule).items()
    }


@dataclass(frozen=True)
class Comparison:
    """A row against another on one data set, run by run; p-values adjusted over the table they stand in."""

    row: str
    rival: str
    source: str
    metric: str
    difference: Difference
    t_holm: float | None = None
    wilcoxon_holm: float | None = None


def compare(
    results: Results, pairs: Sequence[tuple[Row, Row]], sources: Sequence[Source], metric: str
) -> list[Comparison]:
    """Every pair on every data set, first minus second, where they share a run."""
    found = []
    for (row, rival), source in ((pair, source) for pair in pairs for source in sources):
        first, second = (results.sample(metric, one, source) for one in (row, rival))
        if set(first) & set(second):
            found.append(Comparison(row.label, rival.label, source.label, metric, paired(first, second)))
    return adjust(found)


def adjust(found: Sequence[Comparison]) -> list[Comparison]:
    """Put in Holm's p-values."""
    t = holm([one.difference.t_p for one in found])
    wilcoxon = holm([one.difference.wilcoxon_p for one in found])
    return [
        Comparison(one.row, one.rival, one.source, one.metric, one.difference, a, b)
        for one, a, b in zip(found, t, wilcoxon, strict=True)
    ]


def beside_published(results: Results, rows: Iterable[Row], table: str) -> list[Beside]:
    """Every figure of a table that has a published one, at the criterion of the study."""
    found = []
    for row in rows:
        for source in results.sources:
            for metric, value in published.entries(row.label, source, table).items():
                ours = results.summary(metric, row, source)
                if ours is not None:
                    what = f"{title(metric)} of {row.label} on {source.label}"
                    higher = metric.startswith("auuc")
                    found.append(Beside(what, ours, value, published.TOLERANCE[metric], higher_is_better=higher))
    return found


def run_rows(results: Results) -> list[dict[str, Any]]:
    """One row a run for the CSV: all metrics at the criterion of the study, PEHE and chosen epoch by every rule."""
    table = []
    for cell in results.outcome.done:
        record = results.ledger.get(cell) or {"metrics": {}}
        metrics, epochs = record["metrics"], record.get("epochs", {})
        own = f"{results.criterion}."
        row: dict[str, Any] = {"system": cell.system, "data": cell.data, **cell.data_params, "seed": cell.seed}
        row |= {name.removeprefix(own): _short(value) for name, value in metrics.items() if name.startswith(own)}
        for rule in RULES:
            row[f"pehe_out_{rule}"] = _short(metrics.get(f"{rule}.pehe_out"))
            row[f"epoch_{rule}"] = epochs.get(rule)
        row |= {name: _short(value) for name, value in record.get("diagnostics", {}).items()}
        table.append(row | {"seconds": round(record.get("seconds", 0.0), 1), **cell.params})
    return table


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
