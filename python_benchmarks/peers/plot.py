"""A picture of a run: seconds over n for the plain iterations and for the tight residual."""

from __future__ import annotations

from pathlib import Path

from python_benchmarks._harness import Record
from python_benchmarks.peers.goals import Records, own_time, split
from python_benchmarks.peers.with_wbm import OURS


def _series(records: Records, section: str, prefix: str) -> dict[str, list[tuple[int, float, float, float]]]:
    """subject -> (n, median, q1, q3) in seconds, first seed only."""
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for case, subjects in split(records, section).items():
        parts = dict(part.split("=") for part in case.split(", ") if "=" in part)
        if not case.startswith(prefix) or parts.get("seed", "0") != "0":
            continue
        for subject, record in subjects.items():
            if "seconds" in record and not subject.endswith(", again"):
                time = record["seconds"]
                middle = own_time(subjects) if subject == OURS else time["median"]
                lines.setdefault(subject, []).append((int(parts["n"]), middle, time["q1"], time["q3"]))
    return lines


def draw(result: Record, target: Path) -> None:
    """Write a PNG (or what the suffix of ``target`` says)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = [
        ("100 plain iterations, ε = 0.05 mean(D), float32", _series(result["records"], "iterations", "n="))
    ] + [
        (f"to residual 1e-9, ε = {e} mean(D), float64", _series(result["records"], "tight", f"eps={e},"))
        for e in ("0.05", "0.01", "0.003")
    ] + [
        (f"to residual {r}, ε = 0.05 mean(D), {kind}",
         _series({k: v for k, v in result["records"].items() if kind in k}, "residual", "n="))
        for kind, r in (("float32", "1e-5"), ("float64", "1e-9"))
    ]  # fmt: skip
    panels = [(title, lines) for title, lines in panels if lines]
    if not panels:
        raise ValueError("nothing to draw: no timed record in the sections iterations, tight and residual")
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.0 * len(panels) + 2.6, 4.4), squeeze=False, layout="constrained"
    )
    names = sorted({name for _, lines in panels for name in lines}, key=lambda name: (name != OURS, name))
    colours = {name: "black" if name == OURS else f"C{i % 10}" for i, name in enumerate(names, -1)}
    dashes = {name: "-" if i < 10 else "--" for i, name in enumerate(names, -1)}
    for ax, (title, lines) in zip(axes[0], panels, strict=True):
        for name in (name for name in names if name in lines):
            n, middle, low, high = zip(*sorted(lines[name]), strict=True)
            ax.plot(
                n,
                middle,
                "o",
                linestyle=dashes[name],
                color=colours[name],
                linewidth=2.5 if name == OURS else 1.2,
                label=name,
            )
            ax.fill_between(n, low, high, color=colours[name], alpha=0.15)
        ax.set(title=title, xlabel="n = m", ylabel="seconds (median, quartiles shaded)", xscale="log", yscale="log")
        ax.grid(alpha=0.3, which="both")
        sizes = sorted({point[0] for points in lines.values() for point in points})
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
    entries = {label: line for ax in axes[0] for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend([entries[name] for name in names], names, loc="outside right center", fontsize=8)
    machine = result["machine"]
    figure.suptitle(machine.get("gpu", f"{machine['cpu']}, {machine['cores']} cores"), fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
    plt.close(figure)
