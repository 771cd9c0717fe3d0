"""What a study leaves: markdown, CSV and figures, each written whole or not at all (JSON: the harness's writer)."""

from __future__ import annotations

import csv
import datetime
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_benchmarks import _harness as harness
from python_benchmarks._study.aggregate import Summary
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.run import Outcome

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


def left_out(outcome: Outcome) -> list[str]:
    """Lines that name what was cut and what failed, settings with their seeds; empty where nothing was."""
    lines = []
    reason = "the run was interrupted" if outcome.interrupted else "the budget"
    for text, cells in _by_label(outcome.cut).items():
        lines.append(f"cut ({reason}): {text}, seeds {', '.join(str(cell.seed) for cell in cells)}")
    for text, cells in _by_label(list(outcome.failed)).items():
        seeds = ", ".join(str(cell.seed) for cell in cells)
        lines.append(f"failed: {text}, seeds {seeds}: {outcome.failed[cells[0]]}")
    return lines


def _by_label(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.label().rpartition(", seed ")[0], []).append(cell)
    return groups


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; the columns are all names that occur, in the order of their first occurrence."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_figure(path: Path, figure: Figure) -> None:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    figure.savefig(partial, dpi=130, format="png")
    os.replace(partial, path)


def write_map(
    out: Path,
    report: Report,
    name: str,
    command: str,
    outcome: Outcome,
    rows: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``when.md``, ``when.json`` and ``when.csv`` beside ``when.png``; return the files.

    ``content`` stands before the gains (``rows``) in the JSON, ``more`` after them; the report is ended by what is left
    out.
    """
    report.heading("What is left out")
    report.bullets(left_out(outcome) or ["Nothing: every run that was asked for is in the figures."])
    head = {
        "benchmark": name,
        "command": command,
        "date": str(datetime.date.today()),
        "machine": harness.machine(("scikit-learn", "scipy")),
    }
    tail = {"left_out": left_out(outcome), "gains": list(rows), **(more or {})}
    harness.write_json(out / "when.json", {**head, **content, **tail})
    write_csv(out / "when.csv", rows)
    write_text(out / "when.md", str(report))
    return [out / file for file in ("when.md", "when.json", "when.csv", "when.png")]
