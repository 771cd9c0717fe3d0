"""The map of gains: one figure, its numbers, and three sentences of advice that follow from them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_benchmarks._study import Difference, Ledger, Outcome, Summary, paired, summarize
from python_benchmarks._study.figures import Panel, curves
from python_benchmarks._study.gains import LEVEL, Gain, adjusted, place, test_of
from python_benchmarks._study.writers import Report, interval_text, p_text, write_figure, write_map
from python_benchmarks.treatment_effects.protocol import ENTROPY, NEITHER, OURS, PFOR, RMPR, RMPR_ENTROPY
from python_benchmarks.treatment_effects.selection import NAMES
from python_benchmarks.treatment_effects.when import METRIC, RIVALS, Axis, Design
from wbm_ext.ite.selection import CRITERIA

JUDGED = ("tarnet", OURS)  # whose epochs tell of the criteria


@dataclass(frozen=True)
class Regret:
    """PEHE at the epoch of a criterion over that of the best epoch, minus 1, at one point."""

    criterion: str
    axis: Axis
    value: float
    summary: Summary

    @property
    def place(self) -> str:
        return place(self.axis, self.value)


def gains(design: Design, ledger: Ledger) -> list[Gain]:
    """Every comparison of the map. Points that fall on the base point are one test, so they count once in p."""
    found: list[tuple[str, str, Axis, float, Difference]] = []
    for axis, value in design.points():
        for row, rival in axis.pairs:
            first, second = (design.sample(ledger, one, axis, value) for one in (rival, row))
            if set(first) & set(second):
                found.append((row, rival, axis, value, paired(first, second)))
    return adjusted(found)


def regrets(design: Design, ledger: Ledger) -> list[Regret]:
    """What each criterion loses, over tarnet and ESCFR, at every point of the data."""
    found = []
    for axis, value in design.points():
        if not axis.of_data:
            continue
        records = [one for row in JUDGED for one in design.metrics(ledger, row, axis, value).values()]
        for criterion in CRITERIA:
            losses = [one[f"{criterion}.{METRIC}"] / one[f"oracle.{METRIC}"] - 1 for one in records]
            if losses:
                found.append(Regret(criterion, axis, value, summarize(losses)))
    return found


def advice(found: Sequence[Gain], lost: Sequence[Regret]) -> list[str]:
    """Three sentences: on the parts, on balancing and the two references, on the criterion."""
    parts = "; ".join(_account(found, row, NEITHER) for row in (RMPR, RMPR_ENTROPY, PFOR))
    whole = "; ".join(_account(found, row, "tarnet") for row in (NEITHER, OURS, ENTROPY))
    return [
        f"{_verdict(found, NEITHER, RIVALS[NEITHER])}: against transport without them, {parts}.",
        f"{_verdict(found, 'tarnet', RIVALS['tarnet'])}: against tarnet, {whole}.",
        _criteria(lost),
    ]


def _distinct(found: Sequence[Gain], row: str, rival: str) -> list[Gain]:
    """The gains of a pair, the base point once."""
    return list({gain.test: gain for gain in found if (gain.row, gain.rival) == (row, rival)}.values())


def _account(found: Sequence[Gain], row: str, rival: str) -> str:
    points = _distinct(found, row, rival)
    name = "transport alone" if row == NEITHER else row
    if not points:
        return f"{name} was not run"
    text = []
    for sign, verb in ((1, "gains"), (-1, "loses")):
        some = [gain for gain in points if gain.sign == sign]
        part = f"{verb} at {len(some)}"
        if some:
            most = max(some, key=lambda gain: abs(gain.difference.mean))
            part += f" (most, {abs(most.difference.mean):.3f} sd(τ), at {most.place})"
        text.append(part)
    mean = sum(gain.difference.mean for gain in points) / len(points)
    return f"{name} {text[0]} and {text[1]} of {len(points)} points, {mean:+.3f} on the mean"


def _verdict(found: Sequence[Gain], rival: str, rows: Sequence[str]) -> str:
    points = [gain for row in rows for gain in _distinct(found, row, rival)]
    won, lost = ([gain for gain in points if gain.sign == sign] for sign in (1, -1))
    what = "relaxed mass and outcomes in the cost" if rival == NEITHER else "balancing by transport"
    if won and lost:
        return f"Try {what} {_where(won)}, and leave them out {_where(lost)}"
    if won:
        return f"Use {what} {_where(won)}; no harm was measured elsewhere"
    if lost:
        return f"Leave out {what} {_where(lost)}, and expect nothing of it elsewhere"
    return f"Expect no measurable gain of {what} on data like these"


def _where(points: Sequence[Gain]) -> str:
    """The places by row: "at <places> (<row>)"."""
    rows: dict[str, list[str]] = {}
    for gain in points:
        rows.setdefault("transport alone" if gain.row == NEITHER else gain.row, []).append(gain.place)
    return " and ".join(f"at {', '.join(dict.fromkeys(places))} ({row})" for row, places in rows.items())


def _criteria(lost: Sequence[Regret]) -> str:
    """Where each criterion loses least, and what each loses on the mean of the points."""
    once = {(one.criterion, test_of("", "", one.axis, one.value)): one for one in lost}
    points = dict.fromkeys(point for _, point in once)
    best: dict[str, list[str]] = {}
    for point in points:
        some = [one for (_, other), one in once.items() if other == point]
        least = min(some, key=lambda one: one.summary.mean)
        best.setdefault(least.criterion, []).append(least.place)
    if not best:
        return "Criteria: not run."
    order = sorted(best, key=lambda name: -len(best[name]))
    where = "; ".join(f"by {NAMES[name]} at {', '.join(best[name])}" for name in order)
    names = dict.fromkeys(criterion for criterion, _ in once)
    means = {
        name: sum(one.summary.mean for (other, _), one in once.items() if other == name) / len(points) for name in names
    }
    text = ", ".join(f"{NAMES[name]} {100 * mean:.0f} %" for name, mean in means.items())
    return f"Least is lost when the epoch is chosen {where}; PEHE above the best epoch's, mean over the points: {text}."


def panels(design: Design, found: Sequence[Gain], lost: Sequence[Regret]) -> list[Panel]:
    """Gains over either rival along the axes that have both, then along the others, then the criteria."""
    made, both = [], [axis for axis in design.axes if len({rival for _, rival in axis.pairs}) > 1]
    for rival in RIVALS:
        made += [_gain_panel(found, axis, rival) for axis in both]
    made += [_gain_panel(found, axis, axis.pairs[0][1]) for axis in design.axes if axis not in both]
    for axis in (axis for axis in design.axes if axis.of_data):
        lines: dict[str, list[tuple[float, Summary]]] = {}
        for one in lost:
            if one.axis == axis:
                lines.setdefault(f"epoch by {NAMES[one.criterion]}", []).append((one.value, one.summary))
        made.append(Panel("criteria", axis.title, "PEHE over the best epoch's, - 1", lines, zero=True))
    return made


def _gain_panel(found: Sequence[Gain], axis: Axis, rival: str) -> Panel:
    lines: dict[str, list[tuple[float, Summary]]] = {}
    for gain in found:
        if gain.axis == axis and gain.rival == rival:
            lines.setdefault(gain.row, []).append((gain.value, gain.difference))
    return Panel(f"over {rival}", axis.title, "gain in PEHE / sd(τ)", lines, x_log=not axis.of_data, zero=True)


def write(design: Design, ledger: Ledger, outcome: Outcome, out: Path, command: str) -> list[Path]:
    """Write ``when.md``, ``when.json``, ``when.csv`` and ``when.png``; return the files."""
    found, lost = gains(design, ledger), regrets(design, ledger)
    title = f"Gain in out-of-sample PEHE / sd(τ), mean and 95 % interval over {design.seeds} draws of the data"
    write_figure(out / "when.png", curves(panels(design, found, lost), columns=5, title=title))
    report = Report("Where relaxed mass, outcomes in the cost and the references help")
    report.text(f"`{command}`, {datetime.date.today()}.")
    report.heading("Advice")
    report.bullets(advice(found, lost))
    report.text(
        f"A gain or a loss is one whose paired t-test over {design.seeds} draws has p <= {LEVEL:g} after Holm's "
        "adjustment over the map. Epochs by the factual error of the validation part; nothing is searched. Generated "
        "from the numbers below; data of another kind may differ."
    )
    report.image("when.png", "Gain in PEHE")
    report.heading("Numbers")
    report.table(
        ["row", "against", "varied", "gain [95 %]", "p, Holm", "better in"],
        [_row(gain) for gain in found],
    )
    report.heading("Criteria: PEHE at the chosen epoch over the best epoch's, minus 1, tarnet and escfr")
    report.table(["criterion", "varied", "mean [95 %]"], [_regret_row(one) for one in lost])
    content = {"metric": METRIC, "units": design.units, "seeds": design.seeds, "advice": advice(found, lost)}
    rows, criteria = [gain.record("row") for gain in found], {"criteria": [_loss(one) for one in lost]}
    return write_map(out, report, "treatment_effects when", command, outcome, rows, content, criteria)


def _row(gain: Gain) -> list[str]:
    d = gain.difference
    varied = f"{gain.axis.title} = {gain.value:g}"
    return [gain.row, gain.rival, varied, interval_text(d, 3), p_text(gain.p), f"{d.higher} of {d.n}"]


def _regret_row(one: Regret) -> list[str]:
    return [NAMES[one.criterion], f"{one.axis.title} = {one.value:g}", interval_text(one.summary, 3)]


def _loss(one: Regret) -> Mapping[str, Any]:
    return {"criterion": one.criterion, "varied": one.axis.name, "value": one.value, **one.summary.record()}
