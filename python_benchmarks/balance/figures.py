"""The study drawn as the paper draws it: light discs uniform masses, dark ones reweighted masses."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from python_benchmarks.balance.goals import Found, wbm_name
from python_benchmarks.balance.study import EPSILONS, NLL, SHIFTS, clouds, entropic_plan
from wbm_ext.plots import TransportPanel, plot_transport

MIDDLE = EPSILONS[1]
CLOSE_UP = SHIFTS[1]


def nll_figure(found: Found) -> Figure:
    """Fig. 2: NLL propensities, a row a model, a column a shift; dashed the decision boundary."""
    panels = []
    for name in NLL:
        for shift in SHIFTS:
            w, data = found[name, shift], clouds(shift)
            title = f"{name}, shift {shift:g}\naccuracy {w.accuracy:.3f}, W(α', β') = {w.discrepancy:.2f}"
            panels.append(TransportPanel(title, data.x, data.y, w.a, w.b, score=w.score))
    return plot_transport(panels, columns=len(SHIFTS), area=14, title="Propensities by negative log-likelihood")


def wbm_figure(found: Found) -> Figure:
    """Fig. 3 (a), (b): WBM at every shift, and at one shift for every ε, with the plan that it transports by."""
    panels = []
    for shift, epsilon in [(s, MIDDLE) for s in SHIFTS] + [(CLOSE_UP, e) for e in EPSILONS]:
        w, data = found[wbm_name(epsilon), shift], clouds(shift)
        title = f"shift {shift:g}, ε = {epsilon:g} × mean(D)\n"
        title += f"W(α', β') = {w.discrepancy:.2f}, ESS {w.ess[0]:.0f} and {w.ess[1]:.0f}"
        plan = entropic_plan(data, w, epsilon)
        panels.append(TransportPanel(title, data.x, data.y, w.a, w.b, plan=plan))
    return plot_transport(panels, columns=len(SHIFTS), area=14, title="Propensities by WBM")


def curve_figure(found: Found) -> Figure:
    """Fig. 3 (c): WBM by epoch, a panel a shift; a dot is the exact discrepancy that the last epoch leaves."""
    figure = Figure(figsize=(2.6 * len(SHIFTS), 3.0), layout="constrained")
    for axes, shift in zip(figure.subplots(1, len(SHIFTS)), SHIFTS, strict=True):
        for epsilon in EPSILONS:
            w = found[wbm_name(epsilon), shift]
            (line,) = axes.plot(w.curve, linewidth=1.2, label=f"⟨D, P⟩, ε = {epsilon:g} × mean(D)")
            axes.plot(len(w.curve), w.discrepancy, "o", markersize=4, color=line.get_color())
        for name, style in zip(NLL, (":", "--"), strict=True):
            level = found[name, shift].discrepancy
            axes.axhline(level, color="0.4", linewidth=0.9, linestyle=style, label=f"{name}, exact")
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"shift {shift:g}", fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("discrepancy, squared units of x", fontsize=8)
    entries = figure.axes[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncol=5, fontsize=7, frameon=False)
    return figure
