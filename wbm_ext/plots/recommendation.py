"""Figures of a comparison of recommenders: the dict that ``wbm_ext.recommender.compare`` returns goes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbm_ext.errors import require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart with any colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_TITLES = {"auc": "AUC", "auc_unseen": "AUC, pairs not in train"}
_TERMS = {
    "validation": "validation log loss",
    "prediction": "prediction loss",
    "ess_treated": "ESS of observed pairs",
    "wbm": "WBM (cost / its mean)",
}


def _figure(columns: int, *, height: float = 3.4, width: float = 2.9) -> tuple[Figure, list[Axes]]:
    module = require_extra("matplotlib.figure", "plot", "drawing a figure")
    figure = module.Figure(figsize=(max(width * columns, 4.0), height), layout="constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _dots(axes: Axes, place: float, values: list[float], colour: str, label: str | None = None) -> None:
    """Draw one open dot a seed, spread a little sideways, and mean with sd beside them."""
    offsets = np.linspace(-0.12, 0.0, len(values)) if len(values) > 1 else np.array([-0.06])
    axes.scatter(place + offsets, values, s=26, facecolors="none", edgecolors=colour, linewidths=1.2)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    axes.errorbar(
        place + 0.14,
        float(np.mean(values)),
        yerr=sd,
        fmt="o",
        color=colour,
        capsize=3,
        markersize=5,
        label=label,
    )


def plot_metrics(result: Mapping[str, Any]) -> Figure:
    """Draw a panel a metric: each seed as an open dot, mean and standard deviation over seeds beside.

    Parameters
    ----------
    result : mapping
        What :func:`wbm_ext.recommender.compare` returns.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    systems = result["systems"]
    metrics = list(next(iter(systems.values()))["runs"][0]["metrics"])
    figure, axes = _figure(len(metrics), width=2.6)
    for panel, metric in zip(axes, metrics, strict=True):
        for place, name in enumerate(systems):
            values = [run["metrics"][metric] for run in systems[name]["runs"]]
            _dots(panel, place, values, COLOURS[place % len(COLOURS)])
        panel.set_title(_TITLES.get(metric, metric.upper()), fontsize=10)
        _name(panel, systems)
        panel.set_xlim(-0.5, len(systems) - 0.5)
        panel.grid(axis="y", alpha=0.3)
    seeds = result["setting"]["seeds"]
    figure.suptitle(f"{result['data']['name']}: unbiased test pairs, {seeds} seed(s), mean and sd", fontsize=10)
    return figure


def plot_balance(result: Mapping[str, Any]) -> Figure:
    """Draw WBM before and after weighting, and the effective sample sizes, for each system.

    The dashed line is the distance between two random samples of all pairs. Parameters and errors are those
    of :func:`plot_metrics`.
    """
    systems = result["systems"]
    first = next(iter(systems.values()))["runs"][0]["balance"]
    figure, (left, right) = _figure(2, width=3.8)
    for place, name in enumerate(systems):
        reports = [run["balance"] for run in systems[name]["runs"]]
        _dots(left, place, [report["wbm_after"] for report in reports], COLOURS[place % len(COLOURS)])
        for side, shift in (("treated", -0.18), ("untreated", 0.18)):
            shares = [report[f"ess_{side}"] / report[f"n_{side}"] for report in reports]
            right.bar(
                place + shift,
                np.mean(shares),
                width=0.32,
                color=COLOURS[place % len(COLOURS)],
                alpha=1.0 if side == "treated" else 0.45,
            )
            right.text(
                place + shift,
                np.mean(shares) + 0.02,
                f"{np.mean(shares):.2f}",
                ha="center",
                fontsize=8 if len(systems) < 5 else 6,
            )
    left.axhline(first["wbm_before"], color="0.3", linewidth=1, label="before weighting")
    left.axhline(first["wbm_random"], color="0.3", linewidth=1, linestyle="--", label="two random samples")
    left.margins(y=0.25)
    left.legend(fontsize=8, frameon=False, loc="best")
    left.set_ylabel("WBM (cost / its mean)")
    left.set_title(f"observed against unobserved, in {first['representation']}", fontsize=10)
    right.set_ylim(0, 1.12)
    right.set_ylabel("effective sample size / n")
    right.set_title("left bar: observed; pale: unobserved", fontsize=10)
    for panel in (left, right):
        _name(panel, systems)
        panel.set_xlim(-0.5, len(systems) - 0.5)
    figure.suptitle(f"{result['data']['name']}: balance", fontsize=10)
    return figure


def plot_training(result: Mapping[str, Any]) -> Figure:
    """Draw loss, validation value, effective sample size and WBM by epoch, a line a seed; a dot marks the
    best.

    Parameters and errors are those of :func:`plot_metrics`.
    """
    systems = result["systems"]
    present = {key for system in systems.values() for run in system["runs"] for key in run["history"][0]}
    columns = [column for column in _TERMS if column in present]
    figure, axes = _figure(len(columns))
    for panel, column in zip(axes, columns, strict=True):
        for place, (name, system) in enumerate(systems.items()):
            colour, label = COLOURS[place % len(COLOURS)], name
            for run in system["runs"]:
                records = [record for record in run["history"] if column in record]
                if not records:
                    continue
                epochs = [record["epoch"] for record in records]
                values = [record[column] for record in records]
                panel.plot(epochs, values, color=colour, linewidth=1.1, alpha=0.8, label=label)
                best = run["best_epoch"] - 1
                panel.plot(epochs[best], values[best], "o", color=colour, markersize=4)
                label = None
        panel.set_title(_TERMS[column], fontsize=10)
        panel.set_xlabel("epoch")
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{result['data']['name']}: training, dot = epoch kept", fontsize=10)
    return figure


def _name(panel: Axes, systems: Iterable[str]) -> None:
    """A system below each place, upright where more than four would run into each other."""
    names = list(systems)
    panel.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
