"""Where relaxed mass (RMPR), outcomes in the cost (PFOR) and the two references help, and which criterion to trust.

    python -m python_benchmarks.treatment_effects when [--seeds 5] [--jobs 2] [--budget HOURS]

On generated data, where the truth is known: PEHE with each part alone and both, against transport without them
("neither") and against no balancing at all (tarnet). One thing is varied at a time around a base point: how far
covariates decide the treatment (``overlap``), the share of outlying units (``outliers``), the share of treated units
(``treated``: the smaller, the more the groups of a batch differ in size and outcomes), a hidden confounder
(``hidden``), the batch size, κ, γ and λ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_benchmarks._study import Cell, Ledger, Outcome, Summary, map, summarize
from python_benchmarks._study.figures import Panel
from python_benchmarks._study.map import Axis, Gain, Pair
from python_benchmarks._study.page import interval_text
from python_benchmarks.treatment_effects.data import GENERATED, Source
from python_benchmarks.treatment_effects.evaluate import CRITERION
from python_benchmarks.treatment_effects.protocol import (
    ABLATION,
    ENTROPY,
    NEITHER,
    OURS,
    PFOR,
    RMPR,
    RMPR_ENTROPY,
    VARIANTS,
    Row,
    row_cells,
)
from python_benchmarks.treatment_effects.selection import NAMES
from wbm_ext.ite.selection import CRITERIA

BASE_DATA: dict[str, Any] = {"overlap": 0.5, "outliers": 0.0, "treated": 0.3, "hidden": 0.0}
BASE_PARAMS: dict[str, Any] = {"batch_size": 64, "kappa": 1.0, "gamma": 0.005, "balance_weight": 1.0}
HELD: dict[str, Any] = {"learning_rate": 0.003, "cost_scale": 1.0, "epsilon": 0.1}
"""With the package's cost scale 0.1 and ε = 1 all plans are near the product of their marginals on data of this scale,
and nothing could be told of RMPR."""

METRIC = "scaled_out"
TARNET = "tarnet"
OBSERVED = (TARNET, OURS)  # whose epochs show what the criteria are worth

ROWS = {row.label: row for row in (Row(TARNET, TARNET), Row(OURS, OURS), *VARIANTS, *ABLATION)}
RIVALS: dict[str, tuple[str, ...]] = {NEITHER: (RMPR, RMPR_ENTROPY, PFOR), TARNET: (NEITHER, OURS, ENTROPY)}
"""Rival -> rows that are set against it."""


def _axis(title: str, name: str, *values: float, rivals: Mapping[str, Sequence[str]] = RIVALS) -> Axis:
    pairs = tuple(Pair(row, rival, rival) for rival, rows in rivals.items() for row in rows)
    return Axis(title, name, values, (BASE_DATA | BASE_PARAMS)[name], pairs, name in BASE_DATA)


AXES = (
    _axis("overlap", "overlap", 0.25, 0.5, 1.0),
    _axis("outliers", "outliers", 0.0, 0.1, 0.3),
    _axis("treated share", "treated", 0.1, 0.3, 0.5),
    _axis("hidden confounding", "hidden", 0.0, 1.0, 2.0),
    _axis("batch size", "batch_size", 32, 64, 128),
    _axis("κ", "kappa", 0.1, 1.0, 5.0, 20.0, rivals={NEITHER: (RMPR, RMPR_ENTROPY)}),
    _axis("γ", "gamma", 0.0005, 0.005, 0.05, 0.5, rivals={NEITHER: (PFOR,)}),
    _axis("λ", "balance_weight", 0.1, 0.3, 1.0, 3.0, rivals={TARNET: (NEITHER, OURS, ENTROPY)}),
)


@dataclass(frozen=True)
class Design(map.Design):
    """``units``: of a draw."""

    axes: Sequence[Axis] = AXES
    units: int = 700

    def cells(self, row: str, axis: Axis, value: float) -> list[Cell]:
        data = {"n": self.units, **BASE_DATA} | ({axis.name: value} if axis.of_data else {})
        params = {**BASE_PARAMS, **HELD} | ({} if axis.of_data else {axis.name: value})
        base = {(ROWS[row].system, GENERATED): {**params, **self.held}}
        return row_cells(ROWS[row], Source(GENERATED, data), base, self.seeds)

    def score(self, metrics: Mapping[str, float]) -> float:
        """Minus the out-of-sample PEHE / sd(τ)."""
        return -metrics[f"{CRITERION}.{METRIC}"]


@dataclass(frozen=True)
class Regret:
    """PEHE at the epoch of a criterion over that of the best epoch, minus 1, at one point."""

    criterion: str
    axis: Axis
    value: float
    summary: Summary

    @property
    def place(self) -> str:
        return self.axis.place(self.value)


def regrets(design: Design, ledger: Ledger) -> list[Regret]:
    """What each criterion loses, over tarnet and ESCFR, at every point of the data."""
    found = []
    for axis, value in design.points():
        records = [one for row in OBSERVED for one in design.metrics(ledger, row, axis, value).values()]
        for criterion in CRITERIA if axis.of_data and records else ():
            losses = [one[f"{criterion}.{METRIC}"] / one[f"oracle.{METRIC}"] - 1 for one in records]
            found.append(Regret(criterion, axis, value, summarize(losses)))
    return found


def advice(found: Sequence[Gain], lost: Sequence[Regret]) -> list[str]:
    """Three sentences: on the parts, on balancing and the two references, on the criterion."""
    lines = []
    for rival, what, beside in (
        (NEITHER, "relaxed mass and outcomes in the cost", "transport without them"),
        (TARNET, "balancing by transport", TARNET),
    ):
        points = map.distinct(found, RIVALS[rival], rival)
        verdict = map.conclusion(
            points,
            f"Try {what} {{won}}, and leave them out {{lost}}",
            f"Use {what} {{won}}; no harm was measured elsewhere",
            f"Leave out {what} {{lost}}, and expect nothing of it elsewhere",
            f"Expect no measurable gain of {what} on data like these",
        )
        accounts = [map.account([gain for gain in points if gain.row == row], row, "sd(τ)", 3) for row in RIVALS[rival]]
        lines.append(f"{verdict}: against {beside}, {'; '.join(accounts)}.")
    return [*lines, _criteria(lost)]


def _criteria(lost: Sequence[Regret]) -> str:
    """Where each criterion loses least, and what each loses on the mean of the points."""
    once = {(one.criterion, one.place): one for one in lost}
    best: dict[str, list[str]] = {}
    for place in dict.fromkeys(place for _, place in once):
        least = min((one for one in once.values() if one.place == place), key=lambda one: one.summary.mean)
        best.setdefault(least.criterion, []).append(place)
    if not best:
        return "Criteria: not run."
    order = sorted(best, key=lambda name: -len(best[name]))
    places = "; ".join(f"by {NAMES[name]} at {', '.join(best[name])}" for name in order)
    count = sum(len(some) for some in best.values())
    text = ", ".join(
        f"{NAMES[name]} {100 * sum(one.summary.mean for one in once.values() if one.criterion == name) / count:.0f} %"
        for name in dict.fromkeys(name for name, _ in once)
    )
    return (
        f"Least is lost when the epoch is chosen {places}; PEHE above the best epoch's, mean over the points: {text}."
    )


def panels(design: Design, found: Sequence[Gain], lost: Sequence[Regret]) -> list[Panel]:
    """Gains over either rival along the axes that have both, then along the others, then the criteria."""
    rivals = {axis: list(dict.fromkeys(pair.name for pair in axis.pairs)) for axis in design.axes}
    order = [(axis, rival) for rival in RIVALS for axis, some in rivals.items() if len(some) > 1]
    order += [(axis, some[0]) for axis, some in rivals.items() if len(some) == 1]
    made = [map.panel(found, axis, rival, f"over {rival}", "gain in PEHE / sd(τ)") for axis, rival in order]
    for axis in (axis for axis in design.axes if axis.of_data):
        lines: dict[str, list[tuple[float, Summary]]] = {}
        for one in lost:
            if one.axis == axis:
                lines.setdefault(f"epoch by {NAMES[one.criterion]}", []).append((one.value, one.summary))
        made.append(Panel("criteria", axis.title, "PEHE over the best epoch's, - 1", lines, zero=True))
    return made


def write(design: Design, ledger: Ledger, outcome: Outcome, out: Path, command: str) -> list[Path]:
    """Write the map's files."""
    found, lost = design.gains(ledger), regrets(design, ledger)
    lines = [[NAMES[one.criterion], f"{one.axis.title} = {one.value:g}", interval_text(one.summary, 3)] for one in lost]
    heading = "Criteria: PEHE at the chosen epoch over the best epoch's, minus 1, tarnet and escfr"
    criteria = [
        {"criterion": one.criterion, "varied": one.axis.name, "value": one.value, **one.summary.record()}
        for one in lost
    ]
    page = map.Page(
        "treatment_effects when", "Where relaxed mass, outcomes in the cost and the references help",
        "out-of-sample PEHE / sd(τ)", advice(found, lost), panels(design, found, lost), 5,
        "Epochs by the factual error of the validation part; nothing is searched.",
        sections=[(heading, ["criterion", "varied", "mean [95 %]"], lines)],
        content={"metric": METRIC, "units": design.units}, tail={"criteria": criteria},
    )  # fmt: skip
    return map.write(page, found, design, outcome, out, command)
