"""Figures 5, 7, 8 and 10 to 12."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from python_benchmarks._study.figures import COLOURS, Panel, curves
from python_benchmarks._study.page import Report, write_figure
from python_benchmarks.treatment_effects.data import ACIC
from python_benchmarks.treatment_effects.protocol import (
    BATCH_KAPPAS,
    BATCH_ROWS,
    BATCHES,
    OURS,
    SWEEPS,
    SYMBOL,
    Row,
)
from python_benchmarks.treatment_effects.published import FIGURE_5
from python_benchmarks.treatment_effects.results import Results, title
from python_benchmarks.treatment_effects.selection import NAMES, SKIPPED
from wbm_ext.errors import require_extra
from wbm_ext.ite.selection import CRITERIA

SWEPT_METRIC = {"5": "pehe_out", "10": "auuc_out", "11": "ate_out", "12": "att_out"}
PLACES: dict[str, dict[Any, float]] = {"kappa": {"inf": 100.0}, "gamma": {0.0: 5e-6}}
"""Where values stand that a logarithmic axis does not have."""

_ROW = Row(OURS, OURS)
SHOWN_RUNS = 3


def sweep(report: Report, results: Results, figure: str, out: Path) -> list[Path]:
    """ESCFR with one parameter varied at a time."""
    metric, panels = SWEPT_METRIC[figure], []
    points = [(name, value) for name, values in SWEEPS.items() for value in values]
    settings = [(_ROW, {name: value}) for name, value in points]
    found = {source.label: results.swept_summaries(metric, source, settings) for source in results.swept}
    for name in SWEEPS:
        lines: dict[str, list] = {}
        for label, summaries in found.items():
            for (other, value), summary in zip(points, summaries, strict=True):
                if other == name and summary is not None:
                    lines.setdefault(label, []).append((PLACES.get(name, {}).get(value, value), summary))
        marks = {}
        if figure == "5" and name in FIGURE_5 and any(s.data == ACIC and s.params["file"] == 1 for s in results.swept):
            marks = {"published": FIGURE_5[name]}
        panels.append(Panel("", SYMBOL[name], title(metric), lines, marks, x_log=name != "balance_weight"))
    if not any(panel.lines for panel in panels):
        return []
    text = f"Figure {figure}: {title(metric)} of {OURS} by λ, ε, κ and γ"
    note = "Mean and 95 % interval over seeds; κ = inf stands at 100, γ = 0 at 5e-6."
    return [_save(report, curves(panels, columns=4, title=text), out / f"figure{figure}.png", text, note)]


def batches(report: Report, results: Results, out: Path) -> list[Path]:
    """Figure 8."""
    settings: list[tuple[str, str, dict[str, Any]]] = [
        (name, name, {}) for name in BATCH_ROWS if name != OURS
    ] + [(f"{OURS}, κ = {kappa}", OURS, {"kappa": kappa}) for kappa in BATCH_KAPPAS]  # fmt: skip
    points = [(label, batch) for label, _, _ in settings for batch in BATCHES]
    every = [(Row(system, system), {**params, "batch_size": b}) for _, system, params in settings for b in BATCHES]
    panels = []
    for source in results.swept:
        lines: dict[str, list] = {}
        for (label, batch), summary in zip(points, results.swept_summaries("pehe_out", source, every), strict=True):
            if summary is not None:
                lines.setdefault(label, []).append((batch, summary))
        panels.append(Panel(source.label, "batch size", "PEHE out", lines, x_log=True))
    if not any(panel.lines for panel in panels):
        return []
    text = "Figure 8: out-of-sample PEHE by batch size"
    figure = curves(panels, columns=max(2, len(panels)), title=text)
    return [_save(report, figure, out / "figure8.png", text, "Mean and 95 % interval over seeds.")]


def fidelity(report: Report, results: Results, out: Path) -> list[Path]:
    """Figure 7: each epoch's criterion against its PEHE; a triangle where the criterion chooses."""
    pairs = [(row, source) for source in results.goal for row in (Row("tarnet", "tarnet"), _ROW)]
    shown = [source for source in results.goal if any(results.records(r, s) for r, s in pairs if s is source)][:2]
    if not shown:
        return []
    module = require_extra("matplotlib.figure", "study", "drawing a figure")
    figure = module.Figure(figsize=(8.6, 2.7 * len(shown) + 0.8), layout="constrained")
    grid = figure.subplots(len(shown), len(CRITERIA), squeeze=False)
    for line, source in zip(grid, shown, strict=True):
        for axes, criterion in zip(line, CRITERIA, strict=True):
            for colour, row in zip(COLOURS, (Row("tarnet", "tarnet"), _ROW), strict=False):
                for record in list(results.records(row, source).values())[:SHOWN_RUNS]:
                    curve, epoch = record["curve"], record["epochs"][criterion]
                    axes.plot(curve[criterion][SKIPPED:], curve["pehe"][SKIPPED:], ".", color=colour, markersize=2)
                    chosen = curve[criterion][epoch - 1], curve["pehe"][epoch - 1]
                    axes.plot(*chosen, "^", color=colour, markeredgecolor="black", markersize=6, label=row.label)
            axes.set_xlabel(f"{NAMES[criterion]} of the validation part", fontsize=8)
            axes.set_ylabel(f"PEHE out, {source.label}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(grid[0][0].get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncol=2, fontsize=8, frameon=False)
    text = "Figure 7: criteria of the validation part and out-of-sample PEHE, epoch by epoch"
    figure.suptitle(text, fontsize=10)
    note = f"{SHOWN_RUNS} runs a system at most; triangles: the epochs that the criterion chooses."
    return [_save(report, figure, out / "figure7.png", text, note)]


def _save(report: Report, figure: Any, path: Path, text: str, note: str) -> Path:
    write_figure(path, figure)
    report.heading(text)
    report.image(path.name, text)
    report.text(note)
    return path
