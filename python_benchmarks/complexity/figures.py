"""The plots, one panel a figure, so that a page can set them beside or below each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_benchmarks.complexity.growth import Records, section
from python_benchmarks.complexity.options import Options, power
from python_benchmarks.complexity.published import FIG6_BY_BATCH, FIG6_BY_TAU, TABLE3, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 0.2  # of the mean: where the lower end of an interval is cut on a logarithmic axis
COLUMNS = {"batch": "batch size", "epsilon": "ε", "kappa": "κ"}


def _new(title: str, x: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.7), layout="constrained")
    ax = figure.add_subplot()
    ax.set(title=title, xlabel=x, ylabel="seconds", xscale="log", yscale="log")
    ax.grid(alpha=0.25, which="major")
    return figure, ax


def _ticks(ax: Axes, values: list[float]) -> None:
    ax.set_xticks(values, [power(x) for x in values])
    ax.minorticks_off()


def _band(ax: Axes, points: list[tuple[float, dict[str, Any]]], **style: Any) -> None:
    """Mean, dashed, with its interval shaded."""
    x = [at for at, _ in points]
    mean = [time["mean"] for _, time in points]
    half = [time["half"] or 0.0 for _, time in points]
    ax.plot(x, mean, "o--", markersize=4, linewidth=1.4, **style)
    low = [max(m - h, FLOOR * m) for m, h in zip(mean, half, strict=True)]
    high = [m + h for m, h in zip(mean, half, strict=True)]
    ax.fill_between(x, low, high, color=style.get("color"), alpha=0.15, linewidth=0)


def _marks(ax: Axes, marks: tuple[Mark, ...], by_tau: bool) -> None:
    for mark in marks:
        x = mark.tau if by_tau else mark.batch
        ax.plot(x, mark.seconds, "v" if mark.bound else "*", color="crimson", markersize=8 if mark.bound else 11,
                label="paper, in words" if mark is marks[0] else None, linestyle="none", zorder=5)  # fmt: skip
        # to the left of a mark at the right edge, the second of a pair lower; to the right of one inside
        inside, below = by_tau and mark is not marks[0], not by_tau and mark is not marks[0]
        offset = (8, -3) if inside else (-8, -10 if below else -2 if by_tau else 2)
        ax.annotate(mark.words, (x, mark.seconds), textcoords="offset points", fontsize=8, color="crimson",
                    xytext=offset, ha="left" if inside else "right")  # fmt: skip


def metric_panel(records: Records, options: Options, device: str, subject: str, by_tau: bool) -> Figure | None:
    """WBM Fig. 6: left panel over B, right panel over τ; a colour for each k."""
    from matplotlib import colormaps

    rows = [r for r in section(records, "wbm") if (r["device"], r["subject"]) == (device, subject)]
    rows = [r for r in rows if (r["batch"] == options.tau_batch if by_tau else r["tau"] == options.tight)]
    if not rows:
        return None
    where = f"B = {options.tau_batch}" if by_tau else f"τ = {power(options.tight)}"
    figure, ax = _new(f"WBM {subject}, {where} ({device.upper()})", "threshold τ" if by_tau else "batch size B")
    quantity = "tau" if by_tau else "batch"
    sizes = sorted({r["k"] for r in rows})
    for index, k in enumerate(sizes):
        points = sorted(((r[quantity], r["seconds"]) for r in rows if r["k"] == k), key=lambda point: point[0])
        colour = colormaps["viridis"](0.85 * index / max(1, len(sizes) - 1))
        _band(ax, points, color=colour, label=f"k = {k}")
    _marks(ax, FIG6_BY_TAU if by_tau else FIG6_BY_BATCH, by_tau)
    values = sorted({r[quantity] for r in rows} | ({m.tau for m in FIG6_BY_TAU} if by_tau else {512}))
    _ticks(ax, values)
    if by_tau:
        ax.invert_xaxis()
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, max(top, 40.0))
    ax.legend(fontsize=8, ncols=2, loc="center left", bbox_to_anchor=(0.0, 0.62))
    return figure


def transport_panel(records: Records, device: str, axis: str) -> Figure | None:
    """A block of ESCFR Table 3: ours, mean with standard deviation, beside the published."""
    rows = [r for r in section(records, "escfr") if (r["device"], r["axis"]) == (device, axis)]
    if not rows:
        return None
    figure, ax = _new(f"ESCFR Table 3 over {COLUMNS[axis]} ({device.upper()})", COLUMNS[axis])
    for algorithm, colour in (("Algorithm 1", "C0"), ("Algorithm 2", "C1")):
        mine = sorted(((r["at"], r["seconds"]) for r in rows if r["subject"] == algorithm), key=lambda point: point[0])
        published = TABLE3.get((axis, algorithm))
        if not mine or published is None:
            continue
        _errors(ax, [(x, t["mean"], t["sd"]) for x, t in mine], "o-", colour, f"{algorithm}, here")
        _errors(ax, [(x, *entry) for x, entry in published.items()], "s:", colour, f"{algorithm}, published")
    _ticks(ax, sorted({x for (name, _), column in TABLE3.items() if name == axis for x in column}))
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top * 6)
    ax.legend(fontsize=8, ncols=2, loc="upper left")
    return figure


def _errors(ax: Axes, points: list[tuple[float, float, float]], style: str, colour: str, label: str) -> None:
    x, mean, sd = zip(*points, strict=True)
    low = [min(s, (1 - FLOOR) * m) for m, s in zip(mean, sd, strict=True)]
    ax.errorbar(x, mean, yerr=(low, sd), fmt=style, color=colour, markersize=4, capsize=2, linewidth=1.3, label=label)


def peers_panel(records: Records, epsilon: float, n: int) -> Figure | None:
    """Median seconds of everybody who achieved the residual, on one problem."""
    prefix = f"peers|cpu, n={n}, eps={epsilon:g}|"
    times = {
        key.removeprefix(prefix): record["seconds"]
        for key, record in records.items()
        if key.startswith(prefix) and "seconds" in record and not key.endswith(", again")
    }
    if not times:
        return None
    from matplotlib.figure import Figure

    names = sorted(times, key=lambda name: -times[name]["median"])
    figure = Figure(figsize=(4.8, 1.4 + 0.24 * len(names)), layout="constrained")
    ax = figure.add_subplot()
    for place, name in enumerate(names):
        time, ours = times[name], name.startswith("wbm_ext")
        errors = [[time["median"] - time["q1"]], [time["q3"] - time["median"]]]
        ax.errorbar(time["median"], place, xerr=errors, fmt="D" if ours else "o", color="black" if ours else "C0")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(title=f"{n} x {n}, ε = {epsilon:g} mean(D)", xlabel="seconds, median and quartiles", xscale="log")
    ax.grid(alpha=0.25, which="major")
    return figure


def figures(records: Records, options: Options) -> Iterator[tuple[str, str, Figure]]:
    """(group, name, figure) in the order of the page; what has no record is left out."""
    from python_benchmarks.complexity.metric import BOTH, VALUE

    made: list[tuple[str, str, Figure | None]] = []
    for device in options.devices:
        for subject in (VALUE, BOTH):
            for by_tau in (False, True):
                name = f"wbm-{subject.replace(' + ', '-')}-{'tau' if by_tau else 'batch'}-{device}"
                made.append(("wbm", name, metric_panel(records, options, device, subject, by_tau)))
        for axis in COLUMNS:
            made.append(("escfr", f"escfr-{axis}-{device}", transport_panel(records, device, axis)))
    for epsilon in options.peer_epsilons:
        for n in options.peer_sizes:
            made.append(("peers", f"peers-n{n}-eps{epsilon:g}", peers_panel(records, epsilon, n)))
    return ((group, name, figure) for group, name, figure in made if figure is not None)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write PNG and SVG; returns the SVG's text, the same for the same figures."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=130)
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return (folder / f"{name}.svg").read_text()
