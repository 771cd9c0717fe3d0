"""From the ledger to figures: samples, summaries, comparisons, the rows of the CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from python_benchmarks._study import Comparison, Summary, adjusted, command, paired, summarize
from python_benchmarks._study.published import Beside
from python_benchmarks.treatment_effects import published
from python_benchmarks.treatment_effects.data import Source
from python_benchmarks.treatment_effects.evaluate import CRITERION, RULES
from python_benchmarks.treatment_effects.protocol import Row, row_cells, table_rows

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
class Results(command.Results):
    """Of this study: ``criterion`` is the rule that chooses epochs where no other is named.

    ``held``: parameters of every system that the command line gives; ``swept``: the data sets of the sweeps.
    """

    held: Mapping[str, Any] = field(default_factory=dict)
    swept: Sequence[Source] = ()
    criterion: str = CRITERION
    sweep_seeds: int = 3

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
        searched = self.parameters.get((row.system, source.data), self.held)
        cells = row_cells(row, source, {(row.system, source.data): searched}, self.seeds, **params)
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

    def swept_summaries(
        self, metric: str, source: Source, settings: Sequence[tuple[Row, Mapping[str, Any]]]
    ) -> list[Summary | None]:
        """Summaries of the settings of a sweep over the seeds that all finished ones share; None where none was run."""
        samples = [self.sample(metric, row, source, **params) for row, params in settings]
        seeds = [{seed for seed in sample if seed < self.sweep_seeds} for sample in samples]
        shared = set.intersection(*(some for some in seeds if some)) if any(seeds) else set()
        return [
            summarize(sample[seed] for seed in sorted(shared)) if shared and shared <= set(sample) else None
            for sample in samples
        ]

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


def compare(
    results: Results, pairs: Sequence[tuple[Row, Row]], sources: Sequence[Source], metric: str
) -> list[Comparison]:
    """Every pair on every data set, first minus second, where they share a run."""
    found = []
    for (row, rival), source in ((pair, source) for pair in pairs for source in sources):
        first, second = (results.sample(metric, one, source) for one in (row, rival))
        if set(first) & set(second):
            found.append(Comparison(row.label, rival.label, source.label, metric, paired(first, second)))
    return adjusted(found)


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
