"""The page, the tables and the figure of the study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from python_benchmarks.known_truth import comparisons
from python_benchmarks.known_truth.methods import FEATURES, FLAT, STRATA, TRIES, TUNING, controls_of
from python_benchmarks.known_truth.world import MIXTURES

SELECTION = {"falling": "high ratings seen", "mirrored": "low ratings seen"}


def write(rows: pd.DataFrame, out: Path, head: dict[str, Any]) -> list[Path]:
    """Write ``report.md``, ``summary.csv``, ``tests.csv``, ``results.json`` and ``errors.png``; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    summary, tests = comparisons.summary(rows), comparisons.paired_tests(rows)
    verdict = (
        {name: comparisons.wins(tests, name) for name in comparisons.OUTCOMES} if tests.p_holm.notna().all() else {}
    )
    figure(summary, out / "errors.png")
    texts = {
        "summary.csv": summary.round(5).to_csv(index=False),
        "tests.csv": tests.round({"difference": 5, "half": 5}).to_csv(index=False, float_format="%.4g"),
        "results.json": json.dumps(
            head | {"verdict": {name: table.to_dict("index") for name, table in verdict.items()}}, indent=1
        )
        + "\n",
        "report.md": page(summary, tests, verdict, head),
    }
    for name, text in texts.items():
        partial = out / f"{name}.part"
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / name)
    return [*(out / name for name in texts), out / "errors.png"]


def page(summary: pd.DataFrame, tests: pd.DataFrame, verdict: dict[str, pd.DataFrame], head: dict[str, Any]) -> str:
    """The report in Markdown."""
    draws, shape = head["draws"], head["shape"]
    parts = [
        "# Balancing where the truth is known",
        f"`{head['command']}`, {head['date']}.",
        f"MovieLens 100k completed by matrix factorisation, {shape[0]} users x {shape[1]} items, rating shares fixed "
        f"by rank, 5 % observed by the rating itself; {draws} draws of who is observed for each of two selections. "
        "Errors are |estimate - truth| / truth over the matrices named and over absolute and squared loss, in units of "
        "the naive mean's bias (1: as bad as naive), mean ± half the 95 % interval over draws. **six**: ONE, THREE, "
        "FOUR, ROTATE, SKEW, CRS; **fitted**: a predictor fitted to the draw; **all**: these seven. Propensities: b % "
        "is 1/p mixed with b % of a constant; noise is log-normal (sd 1) on 1/p; learned is logistic factorisation. "
        f"Settings of WBM and of the attempts were chosen on draws {', '.join(map(str, TUNING))}, which are not "
        "reported; the best flat control is chosen on the reported draws, in its own favour. All weights but those of "
        "IPS are self-normalised. Floored, mixed and tempered propensities stand at WBM's effective sample size (on "
        "embeddings); floor and mixture cannot fall below that of the given weights and stay there. "
        "No published figure is of this matrix, so none stands beside.",
        "## What follows",
        *conclusions(tests, verdict),
        "![Error of SNIPS by the share of a constant in the propensities](errors.png)",
    ]
    for outcome, title in (
        ("SNIPS, six", "SNIPS, six matrices"),
        ("SNIPS, fitted", "SNIPS, fitted predictor"),
        ("DR, all", "Doubly robust (imputation by regression), all seven matrices"),
        ("IPS, all", "IPS, all seven matrices"),
        ("system", "Squared error over the whole matrix of a factorisation trained with the weights"),
    ):
        for selection, words in SELECTION.items():
            part = summary[summary.selection == selection]
            if len(part):
                parts += [f"## {title}; {words}", unweighted(part, outcome), table(part, outcome)]
    for selection, words in SELECTION.items():
        part = summary[summary.selection == selection]
        if len(part):
            parts += [f"## Effective sample size, range and spread; {words}", diagnostics(part)]
    parts += ["## Paired tests, SNIPS over all seven matrices", test_table(tests, "SNIPS, all")]
    return "\n\n".join(part for part in parts if part) + "\n"


def conclusions(tests: pd.DataFrame, verdict: dict[str, pd.DataFrame]) -> list[str]:
    """Sentences that follow from the tests alone."""
    if not verdict:
        return ["One draw has no interval: nothing follows."]
    lines = []
    for outcome, title in (("SNIPS, all", "SNIPS"), ("DR, all", "doubly robust estimates"), ("system", "systems")):
        won = verdict[outcome]
        whole = won[won.beats_all == won.places]
        safe = won[(won.beats_all > 0) & (won.loses_to_one == 0) & (won.beats_all < won.places)]
        text = f"For {title}, "
        if len(whole):
            text += f"{_names(whole)} beat every control in all {int(won.places.max())} combinations of selection and "
            text += "propensity (paired t-test, Holm)."
        else:
            text += "no balancing by transport beats every control (best flat, strata, entropy and kernel balancing on "
            text += "its own features) in all combinations of selection and propensity."
        if len(safe):
            text += f" Beating all of them somewhere and losing to none: {_names(safe)}."
        lines.append(f"- {text}")
    for name, features, role in (
        ("WBM", FEATURES[0], "best flat"),
        ("WBM", FEATURES[0], "entropy balancing"),
        *(("split-batch transport", features, "entropy balancing") for features in FEATURES),
    ):
        own = (tests.outcome == "SNIPS, all") & (tests.method == f"{name}, on {features}") & (tests.role == role)
        told = "; ".join(f"{r.selection}, {r.propensity}: {_difference(r)}" for r in tests[own].itertuples())
        if told:
            lines.append(f"- {name}, on {features}, minus {role}, SNIPS over all matrices: {told}.")
    return ["\n".join(lines)]


def _names(table: pd.DataFrame) -> str:
    return "; ".join(f"{name} ({int(row.beats_all)} of {int(row.places)})" for name, row in table.iterrows())


def _difference(row: Any) -> str:
    if pd.isna(row.p_holm):
        return f"{row.difference:+.3f}"
    p = f", p {'< .001' if row.p_holm < 0.001 else f'{row.p_holm:.3f}'}"
    return f"{row.difference:+.3f} ± {row.half:.3f}, lower in {row.lower_in} of {row.draws}{p}"


def unweighted(part: pd.DataFrame, outcome: str) -> str:
    """One line: what no weights give."""
    row = part[part.method == "unweighted"].iloc[0]
    if outcome == "system":
        return f"Unweighted: {_cell(row, outcome)}."
    group = outcome.split(", ")[1]
    names = ("naive", "EIB", "EIB-MF")
    return "Unweighted: " + ", ".join(f"{name} {_cell(row, f'{name}, {group}')}" for name in names) + "."


def _cell(row: Any, outcome: str) -> str:
    if pd.isna(row[outcome]):
        return "-"
    half = row[f"{outcome} ±"]
    return f"{row[outcome]:.3f}" + ("" if pd.isna(half) else f" ± {half:.3f}")


def methods_of(part: pd.DataFrame) -> list[str]:
    """Rows of a table: flat, then feature set by feature set controls and transport."""
    order = [*FLAT, STRATA]
    for features in FEATURES:
        order += [*controls_of(features), *(f"{name}, on {features}" for name in ("WBM", *TRIES))]
    return [name for name in order if name in set(part.method)]


def table(part: pd.DataFrame, outcome: str) -> str:
    """Methods by propensities."""
    columns = [
        name for name in part.propensity.unique() if name and part[outcome][part.propensity == name].notna().any()
    ]
    lines = ["| weights | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    cells = part.set_index(["method", "propensity"])
    for method in methods_of(part):
        values = [_cell(cells.loc[(method, c)], outcome) if (method, c) in cells.index else "-" for c in columns]
        if set(values) == {"-"}:
            continue
        lines.append(f"| {method} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def diagnostics(part: pd.DataFrame) -> str:
    """Effective sample size, the weights' range, and the weighted features' variance over that of the whole space."""
    columns = [name for name in ("50 %", "learned") if name in set(part.propensity)]
    head = [f"{name}: {what}" for name in columns for what in ("ESS", "min, max / mean", "variance ratio")]
    lines = ["| weights | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    cells = part.set_index(["method", "propensity"])
    for method in methods_of(part):
        values = []
        for column in columns:
            row = cells.loc[(method, column)]
            values += [
                f"{row.ess:.0f}",
                f"{row.min_over_mean:.3f}, {row.max_over_mean:.1f}",
                f"{row.variance_ratio:.2f}",
            ]
        lines.append(f"| {method} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def test_table(tests: pd.DataFrame, outcome: str) -> str:
    """Difference to each control, places as columns."""
    rows = tests[tests.outcome == outcome]
    places = list(dict.fromkeys(zip(rows.selection, rows.propensity, strict=True)))
    head = [f"{selection}, {propensity}" for selection, propensity in places]
    lines = ["| method minus control | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for (method, role), own in rows.groupby(["method", "role"], sort=False):
        cells = own.set_index(["selection", "propensity"])
        values = [_difference(cells.loc[place]) for place in places]
        lines.append(f"| {method} - {role} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def figure(summary: pd.DataFrame, path: Path) -> None:
    """SNIPS error by the share of a constant in the given propensities, a panel a selection and predictor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    embeddings, both = FEATURES
    drawn = {"given": "0.4", f"entropy balancing, on {embeddings}": "tab:blue", f"WBM, on {embeddings}": "tab:red"}
    drawn |= {f"entropy balancing, on {both}": "tab:cyan", f"WBM, on {both}": "tab:orange", STRATA: "tab:green"}
    selections = list(summary.selection.unique())
    canvas = Figure(figsize=(10, 3.6 * len(selections)), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(len(selections), 2, sharey=True, squeeze=False)
    for row, selection in zip(axes, selections, strict=True):
        for axis, group in zip(row, ("six", "fitted"), strict=True):
            for method, colour in drawn.items():
                part = summary[(summary.selection == selection) & (summary.method == method)].set_index("propensity")
                kinds = [kind for kind in MIXTURES if kind in part.index]
                if kinds:
                    name = f"SNIPS, {group}"
                    axis.errorbar(
                        [100 * MIXTURES[kind] for kind in kinds], part.loc[kinds, name], part.loc[kinds, f"{name} ±"],
                        color=colour, marker="o", markersize=3, capsize=2, label=method,
                    )  # fmt: skip
            axis.set_title(f"{SELECTION[selection]}, {'six matrices' if group == 'six' else 'fitted predictor'}")
            axis.set_xlabel("constant in the given propensities, %")
            axis.axhline(1, color="0.8", linewidth=0.8, zorder=0)
        row[0].set_ylabel("SNIPS error / bias of naive")
    canvas.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    canvas.savefig(path, dpi=130, format="png")
