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
from typing import Any

from python_benchmarks._study import Cell, Ledger, collect
from python_benchmarks.recommendation.protocol import settle

BASE_DATA: dict[str, Any] = {"affinity": 1.0, "selection": 0.0, "hidden": 0.0, "overlap": 0.0}
BASE_PARAMS: dict[str, Any] = {"batch_size": 128, "epsilon": 0.05}
METRIC = "auc_all"
FAMILIES = {"ips-wbm": "ips-v2", "dr-wbm": "dr-v2"}
RIVALS = ("λ_b = 0", "moment balancing")


@dataclass(frozen=True)
class Axis:
    """One quantity that is varied: its name for readers, where it stands, its values."""

    title: str
    name: str
    values: tuple[float, ...]
    of_data: bool = True

    @property
    def base(self) -> float:
        return (BASE_DATA if self.of_data else BASE_PARAMS)[self.name]


AXES = (
    Axis("strength of selection", "affinity", (0.0, 0.5, 1.0, 2.0)),
    Axis("overlap", "overlap", (0.0, 0.25, 0.5, 1.0)),
    Axis("misspecified propensity", "selection", (0.0, 0.5, 1.0, 2.0)),
    Axis("hidden confounding", "hidden", (0.0, 0.5, 1.0, 2.0)),
    Axis("batch size", "batch_size", (32, 64, 128, 256, 512), of_data=False),
    Axis("ε / mean cost", "epsilon", (0.01, 0.05, 0.2, 1.0), of_data=False),
)


@dataclass(frozen=True)
class Design:
    """What is run: axes, size of the generated data, parameters of all systems, seeds."""

    axes: Sequence[Axis] = AXES
    size: Mapping[str, Any] = field(default_factory=lambda: {"n_users": 200, "n_items": 300})
    held: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 5

    def points(self) -> list[tuple[Axis, float]]:
        """Every axis at every value; the base point occurs once an axis."""
        return [(axis, value) for axis in self.axes for value in axis.values]

    def cells(self, system: str, axis: Axis, value: float) -> list[Cell]:
        """The runs of a system (a WBM system, its name with "0" behind for λ_b = 0, or a rival) at a point."""
        name = system.removesuffix("0")
        params = dict(BASE_PARAMS) | ({axis.name: value} if not axis.of_data else {})
        if name not in FAMILIES:
            params.pop("epsilon")
        elif system != name:
            params |= {"balance_weight": 0.0, "epsilon": BASE_PARAMS["epsilon"]}
        data = {**self.size, **BASE_DATA} | ({axis.name: value} if axis.of_data else {})
        values = settle(name, {**params, **self.held})
        return [Cell(name, "synthetic", seed, values, data) for seed in range(self.seeds)]

    def all_cells(self) -> list[Cell]:
        """Every run, seeds outermost; those of equal content once."""
        every = [
            cell
            for system, rival in FAMILIES.items()
            for name in (system, f"{system}0", rival)
            for point in self.points()
            for cell in self.cells(name, *point)
        ]
        return sorted({cell.key(): cell for cell in every}.values(), key=lambda cell: cell.seed)

    def samples(self, ledger: Ledger, system: str, axis: Axis, value: float) -> dict[int, float]:
        """Seed -> AUC over all pairs."""
        return next(iter(collect(ledger, self.cells(system, axis, value), METRIC).values()), {})
