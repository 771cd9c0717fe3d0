"""Where balancing helps: gains of the WBM systems on generated ratings, one property of the data varied at a time.

    python -m python_benchmarks.recommendation when [--seeds 5] [--jobs 2] [--budget HOURS]

Every seed draws new data (``wbm_ext.datasets.make_ratings``), on which ips-wbm and dr-wbm are fitted at λ_b = 1 and at
λ_b = 0, and ips-v2 and dr-v2 beside them; all have default parameters otherwise. The gain is the paired difference in
AUC over all user-item pairs, whose ratings the generator knows. Around one base point are varied: how strongly
observation follows what features show of the preference (``affinity``), the share of observations made at random
(``overlap``), how strongly observation follows the rating itself (``selection``), which no propensity model of users
and items can learn, a hidden confounder (``hidden``), the batch size, and ε in units of the mean cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_benchmarks._study import Cell, Ledger, Outcome, map
from python_benchmarks._study.map import Axis, Gain, Pair
from python_benchmarks.recommendation.protocol import settle

BASE_DATA: dict[str, Any] = {"affinity": 1.0, "selection": 0.0, "hidden": 0.0, "overlap": 0.0}
BASE_PARAMS: dict[str, Any] = {"batch_size": 128, "epsilon": 0.05}
METRIC = "auc_all"
FAMILIES = {"ips-wbm": "ips-v2", "dr-wbm": "dr-v2"}
RIVALS = ITSELF, MOMENTS = ("λ_b = 0", "moment balancing")
PAIRS = tuple(
    pair for wbm, v2 in FAMILIES.items() for pair in (Pair(wbm, f"{wbm}0", ITSELF), Pair(wbm, v2, MOMENTS))
)  # "0" behind a system's name: at λ_b = 0


def _axis(title: str, name: str, *values: float) -> Axis:
    return Axis(title, name, values, (BASE_DATA | BASE_PARAMS)[name], PAIRS, name in BASE_DATA)


AXES = (
    _axis("strength of selection", "affinity", 0.0, 0.5, 1.0, 2.0),
    _axis("overlap", "overlap", 0.0, 0.25, 0.5, 1.0),
    _axis("misspecified propensity", "selection", 0.0, 0.5, 1.0, 2.0),
    _axis("hidden confounding", "hidden", 0.0, 0.5, 1.0, 2.0),
    _axis("batch size", "batch_size", 32, 64, 128, 256, 512),
    _axis("ε / mean cost", "epsilon", 0.01, 0.05, 0.2, 1.0),
)


@dataclass(frozen=True)
class Design(map.Design):
    """``size``: of the generated data."""

    axes: Sequence[Axis] = AXES
    size: Mapping[str, Any] = field(default_factory=lambda: {"n_users": 200, "n_items": 300})

    def cells(self, row: str, axis: Axis, value: float) -> list[Cell]:
        name = row.removesuffix("0")
        params = dict(BASE_PARAMS) | ({axis.name: value} if not axis.of_data else {})
        if name not in FAMILIES:
            params.pop("epsilon")
        elif row != name:
            params |= {"balance_weight": 0.0, "epsilon": BASE_PARAMS["epsilon"]}
        data = {**self.size, **BASE_DATA} | ({axis.name: value} if axis.of_data else {})
        values = settle(name, {**params, **self.held})
        return [Cell(name, "synthetic", seed, values, data) for seed in range(self.seeds)]

    def score(self, metrics: Mapping[str, float]) -> float:
        return metrics[METRIC]


def advice(found: Sequence[Gain]) -> list[str]:
    """Three sentences: against λ_b = 0, against moment balancing, and on batch size and ε."""
    points = {rival: map.distinct(found, [*FAMILIES], rival, of_data=True) for rival in RIVALS}
    accounts = {
        rival: "; ".join(map.account([g for g in some if g.row == row], row, "AUC", 4) for row in FAMILIES)
        for rival, some in points.items()
    }
    itself = map.conclusion(
        points[ITSELF],
        "Turn balancing on {won}, and leave it off {lost}",
        "Balancing does no measured harm here, so turn balancing on {won}",
        "Leave balancing off {lost}, and expect nothing of it elsewhere",
        "Do not expect a better ranking from balancing on data like these",
    )
    moments = map.conclusion(
        points[MOMENTS],
        "Prefer transport {won} and moments {lost}",
        "Prefer transport to moments {won}",
        "Prefer moments to transport {lost}",
        "Take transport or moments by cost, since their rankings do not differ measurably",
    )
    return [
        f"{itself}: against itself at λ_b = 0 {accounts[ITSELF]}.",
        f"{moments}: against moment balancing {accounts[MOMENTS]}.",
        _settings([gain for gain in found if gain.rival == ITSELF and not gain.axis.of_data]),
    ]


def _settings(found: Sequence[Gain]) -> str:
    """On each parameter: where the mean gain is largest, and whether the intervals of best and worst are apart."""
    parts = []
    for name, system in dict.fromkeys((gain.axis.name, gain.row) for gain in found):
        points = [gain for gain in found if (gain.axis.name, gain.row) == (name, system)]
        if len(points) < 2:
            continue
        best, worst = (choose(points, key=lambda gain: gain.difference.mean) for choose in (max, min))
        low, high = best.difference.low, worst.difference.high
        text = f"{best.axis.title} {best.value:g} for {system} ({best.difference.mean:+.4f} AUC)"
        apart = low is not None and high is not None and low > high
        than = (
            f"apart from {worst.value:g} ({worst.difference.mean:+.4f})" if apart else "within the noise of all others"
        )
        parts.append(f"{text}, {than}")
    return f"Largest mean gains over λ_b = 0 at the base point: {'; '.join(parts) or 'not run'}."


def write(design: Design, ledger: Ledger, outcome: Outcome, out: Path, command: str) -> list[Path]:
    """Write the map's files; a row of panels a rival, a column an axis."""
    found = design.gains(ledger)
    panels = [
        map.panel(
            found, axis, rival, axis.title * (rival == ITSELF), f"AUC - AUC of {rival}" * (axis is design.axes[0])
        )
        for rival in RIVALS
        for axis in design.axes
    ]
    page = map.Page(
        "recommendation when", "Where balancing helps", "AUC over all pairs", advice(found), panels, len(design.axes),
        "The moment systems also have ESCM2's term, so differences to them are not those of the balancing term alone.",
        row="system", digits=4, share_y="row", content={"metric": METRIC, "size": dict(design.size)},
    )  # fmt: skip
    return map.write(page, found, design, outcome, out, command)
