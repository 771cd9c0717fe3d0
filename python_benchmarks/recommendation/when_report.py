"""The map of gains: one figure, its numbers, and three sentences of advice that follow from them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from python_benchmarks._study import Difference, Ledger, Outcome, paired
from python_benchmarks._study.figures import Panel, curves
from python_benchmarks._study.gains import LEVEL, Gain, adjusted
from python_benchmarks._study.writers import Report, interval_text, p_text, write_figure, write_map
from python_benchmarks.recommendation.when import FAMILIES, METRIC, RIVALS, Axis, Design


def gains(design: Design, ledger: Ledger) -> list[Gain]:
    """Every comparison of the map. Points that fall on the base point are one test, so they count once in p."""
    found: list[tuple[str, str, Axis, float, Difference]] = []
    for system, moments in FAMILIES.items():
        for rival, name in zip(RIVALS, (f"{system}0", moments), strict=True):
            for axis, value in design.points():
                first, second = (design.samples(ledger, one, axis, value) for one in (system, name))
                if set(first) & set(second):
                    found.append((system, rival, axis, value, paired(first, second)))
    return adjusted(found)


def advice(found: Sequence[Gain]) -> list[str]:
    """Three sentences: against λ_b = 0, against moment balancing, and on batch size and ε."""
    first = "; ".join(_account(_distinct(found, system, RIVALS[0]), system) for system in FAMILIES)
    second = "; ".join(_account(_distinct(found, system, RIVALS[1]), system) for system in FAMILIES)
    return [
        f"{_verdict(found, RIVALS[0])}: against itself at λ_b = 0 {first}.",
        f"{_verdict(found, RIVALS[1])}: against moment balancing {second}.",
        _settings([gain for gain in found if gain.rival == RIVALS[0] and not gain.axis.of_data]),
    ]


def _distinct(found: Sequence[Gain], system: str, rival: str) -> list[Gain]:
    """The gains of a pair at the points of the data, the base point once."""
    chosen = {gain.test: gain for gain in found if gain.axis.of_data}
    return [gain for gain in chosen.values() if (gain.row, gain.rival) == (system, rival)]


def _account(points: Sequence[Gain], system: str) -> str:
    if not points:
        return f"{system} was not run"
    text = [f"{system}"]
    for sign, verb in ((1, "gains"), (-1, "loses")):
        some = [gain for gain in points if gain.sign == sign]
        part = f"{verb} in {len(some)} of {len(points)} kinds of data"
        if some:
            most = max(some, key=lambda gain: abs(gain.difference.mean))
            part += f" (most, {most.difference.mean:+.4f} AUC, at {most.place})"
        text.append(part if sign == 1 else f"and {part.replace(f' of {len(points)} kinds of data', '')}")
    return " ".join(text)


def _verdict(found: Sequence[Gain], rival: str) -> str:
    """What to do, from the counts of gains and losses over both systems."""
    points = [gain for system in FAMILIES for gain in _distinct(found, system, rival)]
    won, lost = ([gain for gain in points if gain.sign == sign] for sign in (1, -1))
    if rival == RIVALS[0]:
        subject = "turn balancing on"
        if won and not lost:
            return f"Balancing does no measured harm here, so {subject} {_where(won)}"
        if lost and not won:
            return f"Leave balancing off {_where(lost)}, and expect nothing of it elsewhere"
        if won:
            return f"{subject.capitalize()} {_where(won)}, and leave it off {_where(lost)}"
        return "Do not expect a better ranking from balancing on data like these"
    if won and not lost:
        return f"Prefer transport to moments {_where(won)}"
    if lost and not won:
        return f"Prefer moments to transport {_where(lost)}"
    if won:
        return f"Prefer transport {_where(won)} and moments {_where(lost)}"
    return "Take transport or moments by cost, since their rankings do not differ measurably"


def _where(points: Sequence[Gain]) -> str:
    """The places by system: "at <places> (ips-wbm)"."""
    parts = []
    for system in FAMILIES:
        places = [gain.place for gain in points if gain.row == system]
        if places:
            parts.append(f"at {', '.join(places)} ({system})")
    return " and ".join(parts)


def _settings(found: Sequence[Gain]) -> str:
    """On each parameter: where the mean gain is largest, and whether the intervals of best and worst are apart."""
    parts = []
    for name in dict.fromkeys(gain.axis.name for gain in found):
        for system in FAMILIES:
            points = [gain for gain in found if gain.axis.name == name and gain.row == system]
            if len(points) < 2:
                continue
            best, worst = (choose(points, key=lambda gain: gain.difference.mean) for choose in (max, min))
            low, high = best.difference.low, worst.difference.high
            text = f"{best.value:g} for {system} ({best.difference.mean:+.4f} AUC)"
            if low is not None and high is not None and low > high:
                parts.append(f"{best.axis.title} {text}, apart from {worst.value:g} ({worst.difference.mean:+.4f})")
            else:
                parts.append(f"{best.axis.title} {text}, within the noise of all others tried")
    return f"Largest mean gains over λ_b = 0 at the base point: {'; '.join(parts) or 'not run'}."


def panels(design: Design, found: Sequence[Gain]) -> list[Panel]:
    """A row a rival, a column an axis."""
    made = []
    for rival in RIVALS:
        for axis in design.axes:
            lines = {
                system: [(g.value, g.difference) for g in found if (g.row, g.rival, g.axis) == (system, rival, axis)]
                for system in FAMILIES
            }
            lines = {system: points for system, points in lines.items() if points}
            title = axis.title if rival == RIVALS[0] else ""
            label = f"AUC - AUC of {rival}" if axis == design.axes[0] else ""
            made.append(Panel(title, axis.name, label, lines, x_log=not axis.of_data, zero=True))
    return made


def write(design: Design, ledger: Ledger, outcome: Outcome, out: Path, command: str) -> list[Path]:
    """Write ``when.md``, ``when.json``, ``when.csv`` and ``when.png``; return the files."""
    found = gains(design, ledger)
    write_figure(
        out / "when.png",
        curves(
            panels(design, found), columns=len(design.axes), share_y="row",
            title=f"Gain in AUC over all pairs, mean and 95 % interval over {design.seeds} draws of the data",
        ),
    )  # fmt: skip
    report = Report("Where balancing helps")
    report.text(f"`{command}`, {datetime.date.today()}.")
    report.heading("Advice")
    report.bullets(advice(found))
    report.text(
        f"A gain or a loss is one whose paired t-test over {design.seeds} draws has p <= {LEVEL:g} after Holm's "
        "adjustment over the map. Generated from the numbers below; data of another kind may differ. The moment "
        "systems also have ESCM2's term, so differences to them are not those of the balancing term alone."
    )
    report.image("when.png", "Gain in AUC")
    report.heading("Numbers")
    report.table(
        ["system", "against", "varied", "gain [95 %]", "p, Holm", "higher in"],
        [_row(gain) for gain in found],
    )
    content = {"metric": METRIC, "size": dict(design.size), "seeds": design.seeds, "advice": advice(found)}
    rows = [gain.record("system") for gain in found]
    return write_map(out, report, "recommendation when", command, outcome, rows, content)


def _row(gain: Gain) -> list[str]:
    d = gain.difference
    varied = f"{gain.axis.title} ({gain.axis.name}) = {gain.value:g}"
    return [gain.row, gain.rival, varied, interval_text(d), p_text(gain.p), f"{d.higher} of {d.n}"]
