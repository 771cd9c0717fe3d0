"""The plots of a treatment-effect summary: balance, overlap, effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wbm_ext.errors import require_extra
from wbm_ext.plots.transport import TREATED, UNTREATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 25  # covariates that the balance panel has room for


def plot_effect_summary(summary: Any) -> Figure:
    """Draw the balance of covariates before and after weighting, the overlap of propensities, and the effects.

    Parameters
    ----------
    summary : wbm_ext.ite.EffectSummary

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    figures = require_extra("matplotlib.figure", "plot", "a plot of a summary")
    order = np.argsort(-np.abs(summary.before), kind="stable")[:_MOST][::-1]
    figure = figures.Figure(figsize=(11, max(3.2, 1.4 + 0.22 * len(order))), layout="constrained")
    balance, overlap, effects = figure.subplots(1, 3)

    rows = np.arange(len(order))
    balance.scatter(np.abs(summary.before[order]), rows, color=TREATED, marker="o", label="before")
    balance.scatter(np.abs(summary.after[order]), rows, color=UNTREATED, marker="s", label="after weighting")
    balance.axvline(0.1, color="0.5", linestyle="--", linewidth=1)
    balance.set_yticks(rows, [summary.names[place] for place in order])
    balance.set(xlabel="absolute standardised mean difference", title="balance", xlim=(0, None))
    balance.legend(frameon=False)

    bins = np.linspace(0, 1, 41)
    for arm, color, name in ((summary.treatment, TREATED, "treated"), (~summary.treatment, UNTREATED, "untreated")):
        overlap.hist(summary.propensity[arm], bins, density=True, alpha=0.5, color=color, label=name)
    overlap.set(xlabel="P(treated | x)", ylabel="density", title="overlap")
    overlap.legend(frameon=False)

    spread = np.ptp(summary.effects)
    effects.hist(summary.effects, 40 if spread > 1e-9 * (1 + abs(summary.effects[0])) else 1, color="0.6")
    effects.axvline(summary.average.value, color="black", linewidth=1.5, label="average")
    effects.axvline(summary.doubly_robust.value, color=TREATED, linestyle="--", label="doubly robust")
    effects.set(xlabel="effect, in units of the outcome", ylabel="units", title="estimated effects")
    effects.legend(frameon=False)
    return figure
