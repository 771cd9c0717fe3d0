"""What a study leaves: markdown, CSV and figures, each written whole or not at all (JSON: the harness's writer)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_benchmarks._study.cells import Cell
from python_benchmarks._study.run import Outcome
from python_benchmarks._study.search import Found
from python_benchmarks._study.statistics import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report:
    """Markdown, piece by piece."""

    def __init__(self, title: str) -> None:
        self._pieces = [f"# {title}"]

    def heading(self, text: str) -> None:
        self._pieces.append(f"## {text}")

    def text(self, *sentences: str) -> None:
        self._pieces.append(" ".join(sentences))

    def bullets(self, lines: Iterable[str]) -> None:
        self._pieces.append("\n".join(f"- {line}" for line in lines))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        body = [list(head), ["---"] + ["---:"] * (len(head) - 1), *rows]
        self._pieces.append("\n".join("| " + " | ".join(row) + " |" for row in body))

    def left_out(self, lines: Sequence[str]) -> None:
        """The section on what was cut and what failed."""
        self.heading("What is left out")
        self.bullets(lines or ["Nothing: every run that was asked for is in the figures."])

    def image(self, file: str, text: str) -> None:
        self._pieces.append(f"![{text}]({file})")

    def __str__(self) -> str:
        return "\n\n".join(piece for piece in self._pieces if piece) + "\n"


def figure_text(summary: Summary | None, digits: int = 3) -> str:
    """``mean ± sd``; a dash where there is nothing."""
    if summary is None:
        return "-"
    spread = "" if summary.sd is None else f" ± {summary.sd:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def interval_text(summary: Summary, digits: int = 4) -> str:
    """``mean [low, high]`` with signs."""
    if summary.low is None or summary.high is None:
        return f"{summary.mean:+.{digits}f}"
    return f"{summary.mean:+.{digits}f} [{summary.low:+.{digits}f}, {summary.high:+.{digits}f}]"


def p_text(p: float | None) -> str:
    return "-" if p is None else "< .001" if p < 0.001 else f"{p:.3f}"


def left_out(outcome: Outcome, found: Mapping[str, Found] | None = None) -> list[str]:
    """Lines that name what was cut and what failed, settings with their seeds; empty where nothing was.

    A setting is named by the parameters in which cells of one system, data set and seed differ.
    """
    varied = _varied([*outcome.done, *outcome.cut, *outcome.failed])
    alike: dict[tuple[int, ...], list[str]] = {}
    for text, cells in _by_label(outcome.cut, varied).items():
        alike.setdefault(tuple(cell.seed for cell in cells), []).append(text)
    reason = "the run was interrupted" if outcome.interrupted else "the budget"
    lines = [f"cut ({reason}): {'; '.join(texts)}, seeds {_range(seeds)}" for seeds, texts in alike.items()]
    for text, cells in _by_label(outcome.failed, varied).items():
        lines.append(f"failed: {text}, seeds {_range([c.seed for c in cells])}: {outcome.failed[cells[0]]}")
    for name, one in (found or {}).items():
        if one.finished < one.wanted:
            lines.append(f"cut: search of {name}, {one.finished} of {one.wanted} trials finished")
    return lines


def _varied(cells: Iterable[Cell]) -> dict[str, set[str]]:
    first: dict[tuple[str, int], dict[str, Any]] = {}
    varied: dict[str, set[str]] = {}
    for cell in cells:
        params = {**cell.data_params, **cell.params}
        other = first.setdefault((cell.group, cell.seed), params)
        varied.setdefault(cell.group, set()).update(k for k in params if params[k] != other.get(k))
    return varied


def _by_label(cells: Iterable[Cell], varied: Mapping[str, set[str]]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        params = {name: x for name, x in {**cell.data_params, **cell.params}.items() if name in varied[cell.group]}
        groups.setdefault(", ".join([cell.group, *(f"{name}={x}" for name, x in params.items())]), []).append(cell)
    return groups


def _range(numbers: Sequence[int]) -> str:
    """E.g. "3 to 9", or "0, 2"."""
    if len(numbers) > 2 and [*numbers] == [*range(numbers[0], numbers[-1] + 1)]:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; the columns are all names that occur, in the order of their first occurrence."""
    import pandas

    write_text(path, pandas.DataFrame(list(rows), dtype=object).to_csv(index=False))


def write_figure(path: Path, figure: Figure) -> None:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    figure.savefig(partial, dpi=130, format="png")
    os.replace(partial, path)
