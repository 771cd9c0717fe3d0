"""What was cut and what failed, told by rows, data sets and runs."""

from __future__ import annotations

from python_benchmarks._study import Cell
from python_benchmarks.treatment_effects.protocol import ABLATION, VARIED, batch_cells, row_cells, sweep_cells
from python_benchmarks.treatment_effects.results import Results


def lines(results: Results) -> list[str]:
    """Name every cut run once: rows of tables by data set and seeds, sweeps by their number; then what failed."""
    open_ = {cell.key() for cell in results.outcome.cut}
    reason = "the run was interrupted" if results.outcome.interrupted else "the budget"
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    rows = [*results.rows, *ABLATION, *VARIED]
    for source in results.sources:
        for row in rows:
            cells = [cell for cell in row_cells(row, source, results.parameters, results.seeds) if cell.key() in open_]
            open_ -= {cell.key() for cell in cells}
            if cells:
                seeds = tuple(cell.seed for cell in cells)
                groups.setdefault((source.label, seeds), []).append(row.label)
    told = [
        f"cut ({reason}): {place}, {_runs(seeds)}: {'all rows' if len(names) == len(rows) else ', '.join(names)}"
        for (place, seeds), names in groups.items()
    ]
    for name, cells in (
        ("Tables 7 and 8 (Figures 5, 10 to 12)", sweep_cells(results.swept, results.parameters, results.sweep_seeds)),
        ("Table 4 (Figure 8)", batch_cells(results.swept, results.parameters, results.sweep_seeds)),
    ):
        every = {cell.key() for cell in cells}
        missing = every & open_
        open_ -= missing
        if missing:
            told.append(f"cut ({reason}): {len(missing)} of the {len(every)} runs of {name}")
    return told + [f"failed: {cell.label()}: {text}" for cell, text in _failed(results).items()]


def _runs(seeds: tuple[int, ...]) -> str:
    """E.g. "runs 3 to 9"."""
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[-1] + 1)):
        return f"runs {seeds[0]} to {seeds[-1]}"
    return f"run(s) {', '.join(str(seed) for seed in seeds)}"


def _failed(results: Results) -> dict[Cell, str]:
    return results.outcome.failed
