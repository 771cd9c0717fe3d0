"""Maps of gains: rows against rivals at points where one quantity is varied at a time around a base point."""

from __future__ import annotations

import datetime
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from python_benchmarks._harness import machine, write_json
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.figures import Panel, curves
from python_benchmarks._study.ledger import Ledger
from python_benchmarks._study.page import Report, interval_text, left_out, p_text, write_csv, write_figure, write_text
from python_benchmarks._study.run import Outcome
from python_benchmarks._study.statistics import Difference, holm, paired

LEVEL = 0.05  # of Holm's adjusted p, from which a gain or a loss is taken for one


class Pair(NamedTuple):
    """A row, the row that it is set against, and how that one is called."""

    row: str
    rival: str
    name: str


@dataclass(frozen=True)
class Axis:
    """One quantity that is varied: its title for readers, its name, its values and its value at the base point."""

    title: str
    name: str
    values: tuple[float, ...]
    base: float
    pairs: tuple[Pair, ...]
    of_data: bool = True

    def place(self, value: float) -> str:
        """A point in words; points of different axes that fall on the base point are one."""
        return "the base point" if value == self.base else f"{self.title} {value:g}"


@dataclass(frozen=True)
class Gain:
    """How much better ``row`` is than ``rival`` at one point (above 0: better); p adjusted over the whole map."""

    row: str
    rival: str
    axis: Axis
    value: float
    difference: Difference
    p: float | None = None

    @property
    def sign(self) -> int:
        """1 a gain, -1 a loss, 0 neither at the level."""
        if self.p is None or self.p > LEVEL:
            return 0
        return 1 if self.difference.mean > 0 else -1

    @property
    def place(self) -> str:
        return self.axis.place(self.value)

    @property
    def test(self) -> tuple[str, str, str]:
        """What tells tests apart."""
        return self.row, self.rival, self.place


@dataclass(frozen=True)
class Design:
    """What is run: axes, parameters of all systems, draws of the data. A study says which cells that makes."""

    axes: Sequence[Axis]
    held: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 5

    @abstractmethod
    def cells(self, row: str, axis: Axis, value: float) -> list[Cell]:
        """The runs of a row at a point."""

    @abstractmethod
    def score(self, metrics: Mapping[str, float]) -> float:
        """What is compared; of two the better one is the higher."""

    def points(self) -> list[tuple[Axis, float]]:
        """Every axis at every value; the base point occurs once an axis."""
        return [(axis, value) for axis in self.axes for value in axis.values]

    def all_cells(self) -> list[Cell]:
        """Every run, seeds outermost; those of equal content once."""
        every = [
            cell
            for axis, value in self.points()
            for row in dict.fromkeys(name for pair in axis.pairs for name in pair[:2])
            for cell in self.cells(row, axis, value)
        ]
        return sorted({cell.key(): cell for cell in every}.values(), key=lambda cell: cell.seed)

    def metrics(self, ledger: Ledger, row: str, axis: Axis, value: float) -> dict[int, dict[str, float]]:
        """Seed -> metrics of the finished runs."""
        found = {cell.seed: ledger.get(cell) for cell in self.cells(row, axis, value)}
        return {seed: record["metrics"] for seed, record in found.items() if record is not None}

    def gains(self, ledger: Ledger) -> list[Gain]:
        """Every comparison of the map. What falls on the base point is one test, so it counts once in p."""
        found = []
        for axis, value in self.points():
            for row, rival, name in axis.pairs:
                first, second = (
                    {seed: self.score(one) for seed, one in self.metrics(ledger, label, axis, value).items()}
                    for label in (row, rival)
                )
                if set(first) & set(second):
                    found.append(Gain(row, name, axis, value, paired(first, second)))
        once = {gain.test: gain.difference.t_p for gain in found}
        p = dict(zip(once, holm(list(once.values())), strict=True))
        return [Gain(g.row, g.rival, g.axis, g.value, g.difference, p[g.test]) for g in found]


def distinct(found: Sequence[Gain], rows: Sequence[str], rival: str, of_data: bool = False) -> list[Gain]:
    """The gains of rows over a rival, the base point once; ``of_data``: where the data are varied, only."""
    some = [gain for gain in found if gain.rival == rival and (gain.axis.of_data or not of_data)]
    once = {gain.test: gain for gain in some}
    return [gain for row in rows for gain in once.values() if gain.row == row]


def account(points: Sequence[Gain], row: str, unit: str, digits: int) -> str:
    """How often a row gains and loses, and where most."""
    text = []
    for sign, verb in ((1, "gains"), (-1, "loses")):
        some = [gain for gain in points if gain.sign == sign]
        part = f"{verb} at {len(some)}"
        if some:
            most = max(some, key=lambda gain: abs(gain.difference.mean))
            part += f" (most, {most.difference.mean:+.{digits}f} {unit}, at {most.place})"
        text.append(part)
    if not points:
        return f"{row} was not run"
    mean = sum(gain.difference.mean for gain in points) / len(points)
    return f"{row} {text[0]} and {text[1]} of {len(points)} points, {mean:+.{digits}f} on the mean"


def where(points: Sequence[Gain]) -> str:
    """The places by row: "at <places> (<row>) and at ..."."""
    rows: dict[str, dict[str, None]] = {}
    for gain in points:
        rows.setdefault(gain.row, {})[gain.place] = None
    return " and ".join(f"at {', '.join(places)} ({row})" for row, places in rows.items())


def conclusion(points: Sequence[Gain], both: str, gains: str, losses: str, neither: str) -> str:
    """One of four texts, by whether there are gains and losses, with their places in {won} and {lost}."""
    won, lost = ([gain for gain in points if gain.sign == sign] for sign in (1, -1))
    text = both if won and lost else gains if won else losses if lost else neither
    return text.format(won=where(won), lost=where(lost))


def panel(found: Sequence[Gain], axis: Axis, rival: str, title: str, y: str) -> Panel:
    """Gains over a rival along an axis, a line a row."""
    lines: dict[str, list[tuple[float, Difference]]] = {}
    for gain in found:
        if (gain.axis, gain.rival) == (axis, rival):
            lines.setdefault(gain.row, []).append((gain.value, gain.difference))
    return Panel(title, axis.title, y, lines, x_log=not axis.of_data, zero=True)


@dataclass(frozen=True)
class Page:
    """What the files of a map say: name of the benchmark, title, metric with unit and digits, advice, panels, a remark.

    ``row``: what a row is called in tables; ``sections`` (heading, head, lines) stand behind the numbers, ``content``
    and ``tail`` beside them in the JSON.
    """

    name: str
    title: str
    metric: str
    advice: Sequence[str]
    panels: Sequence[Panel]
    columns: int
    remark: str
    row: str = "row"
    digits: int = 3
    share_y: str = "none"
    sections: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    content: Mapping[str, Any] = field(default_factory=dict)
    tail: Mapping[str, Any] = field(default_factory=dict)


def write(page: Page, found: Sequence[Gain], design: Design, outcome: Outcome, out: Path, command: str) -> list[Path]:
    """Write ``when.md``, ``when.json``, ``when.csv`` and ``when.png``; return the files."""
    title = f"Gain in {page.metric}, mean and 95 % interval over {design.seeds} draws of the data"
    write_figure(out / "when.png", curves(page.panels, columns=page.columns, title=title, share_y=page.share_y))
    report = Report(page.title)
    report.text(f"`{command}`, {datetime.date.today()}.")
    report.heading("Advice")
    report.bullets(page.advice)
    report.text(
        f"A gain or a loss is one whose paired t-test over {design.seeds} draws has p <= {LEVEL:g} after Holm's "
        f"adjustment over the map. Generated from the numbers below; data of another kind may differ. {page.remark}"
    )
    report.image("when.png", f"Gain in {page.metric}")
    report.heading("Numbers")
    report.table(
        [page.row, "against", "varied", "gain [95 %]", "p, Holm", "better in"],
        [
            [
                *(gain.row, gain.rival, f"{gain.axis.title} = {gain.value:g}", interval_text(d, page.digits)),
                *(p_text(gain.p), f"{d.higher} of {d.n}"),
            ]
            for gain in found
            for d in [gain.difference]
        ],
    )
    for heading, head, lines in page.sections:
        report.heading(heading)
        report.table(head, lines)
    cut = left_out(outcome)
    report.left_out(cut)
    rows = [
        {page.row: gain.row, "against": gain.rival, "varied": gain.axis.name, "value": gain.value}
        | {**gain.difference.record(), "holm_p": gain.p}
        for gain in found
    ]
    about = {"benchmark": page.name, "command": command, "date": str(datetime.date.today())}
    head = about | {"machine": machine(("scikit-learn", "scipy")), "seeds": design.seeds, "advice": list(page.advice)}
    write_json(out / "when.json", {**head, **page.content, "left_out": cut, "gains": rows, **page.tail})
    write_csv(out / "when.csv", rows)
    write_text(out / "when.md", str(report))
    return [out / file for file in ("when.md", "when.json", "when.csv", "when.png")]
