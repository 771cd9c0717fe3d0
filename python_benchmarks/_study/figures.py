"""Curves over a varied quantity: means as lines, intervals over seeds shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from python_benchmarks._study.statistics import Summary
from wbm_ext.errors import require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes
    ----------
    lines : mapping
        Label -> points (x, summary), by x.
    marks : mapping
        Label -> points (x, y) without a spread, e.g. published ones; drawn open.
    x_log : bool
    zero : bool
        Draw the level 0: the values are differences.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, Summary]]]
    marks: Mapping[str, Sequence[tuple[float, float]]] | None = None
    x_log: bool = False
    zero: bool = False


def curves(panels: Sequence[Panel], *, columns: int, title: str = "", share_y: str = "none") -> Figure:
    """Draw panels row by row, ``columns`` a row; a label has one colour and mark everywhere.

    Parameters
    ----------
    share_y : {"none", "row", "all"}
        Panels with a common scale.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    module = require_extra("matplotlib.figure", "study", "drawing a figure")
    rows = -(-len(panels) // columns)
    figure = module.Figure(figsize=(2.7 * columns + 0.4, 2.5 * rows + 0.8), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel())
    labels = list(dict.fromkeys(label for panel in panels for label in (*panel.lines, *(panel.marks or {}))))
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel, labels)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles: dict[str, Any] = {}
    for axes in grid[: len(panels)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncol=4, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw(axes: Axes, panel: Panel, labels: list[str]) -> None:
    if panel.zero:
        axes.axhline(0.0, color="0.4", linewidth=0.8)
    for label, points in panel.lines.items():
        place = labels.index(label)
        colour = COLOURS[place % len(COLOURS)]
        at = [x for x, _ in points]
        axes.plot(
            at,
            [summary.mean for _, summary in points],
            color=colour,
            marker=MARKS[place % len(MARKS)],
            markersize=3.5,
            linewidth=1.3,
            label=label,
        )
        spread = [(x, s.low, s.high) for x, s in points if s.low is not None and s.high is not None]
        if spread:
            x, low, high = (list(part) for part in zip(*spread, strict=True))
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    for label, marks in (panel.marks or {}).items():
        place = labels.index(label)
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(*zip(*marks, strict=True), "x", color=colour, markersize=5, label=label)
    if panel.x_log:
        axes.set_xscale("log")
        ticks = sorted({x for points in panel.lines.values() for x, _ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.x, fontsize=8)
    axes.set_ylabel(panel.y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
