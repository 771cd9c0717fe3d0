"""The study as JSON, CSV, figures and a markdown report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from python_benchmarks import _harness as harness
from python_benchmarks._study.writers import Report, write_csv, write_text
from python_benchmarks.treatment_effects import figures, goals, left_out, selection, tables
from python_benchmarks.treatment_effects.data import ACIC, IHDP
from python_benchmarks.treatment_effects.evaluate import SLOW
from python_benchmarks.treatment_effects.judging import RULES
from python_benchmarks.treatment_effects.protocol import HELD
from python_benchmarks.treatment_effects.results import Comparison, Results, run_rows
from python_benchmarks.treatment_effects.selection import NAMES

SUMMED = ("pehe_out", "scaled_out", "auuc_out", "pehe_in", "auuc_in", "ate_out", "att_out", "rmse_f_out", "rmse_cf_out")
PACKAGES = ("scikit-learn", "econml", "scipy", "optuna", "joblib")


def write(results: Results, out: Path, command: str) -> list[Path]:
    """Write ``report.md``, ``results.json``, ``runs.csv`` and the figures; return the files."""
    report = Report("Treatment effects: the study")
    report.text(f"`{command}`, {datetime.date.today()}.")
    _protocol(report, results)
    _chosen(report, results)
    selection.section(report, results)
    kept: dict[str, Any] = {}
    tests: list[Comparison] = []
    if "1" in results.tables:
        kept = goals.ranking(report, results)
        tests = tables.table_1(report, results)
    if "2" in results.tables:
        tables.table_2(report, results)
    for number, section in (("4", tables.table_4), ("5", tables.table_5), ("6", tables.table_6)):
        if number in results.tables:
            section(report, results)
    for number, metrics in (("7", ("pehe_out", "auuc_out")), ("8", ("ate_out", "att_out"))):
        if number in results.tables:
            tables.sweeps(report, results, number, metrics)
    tables.varied(report, results)
    tables.group_losses(report, results)
    tables.literal(report, results)
    tables.regulariser_table(report, results)
    files = _figures(report, results, out)
    report.heading("What is left out")
    report.bullets(_left_out(results) or ["Nothing: every run that was asked for is in the figures."])
    harness.write_json(out / "results.json", _content(results, command, kept, tests))
    write_csv(out / "runs.csv", run_rows(results))
    write_text(out / "report.md", str(report))
    return [out / "report.md", out / "results.json", out / "runs.csv", *files]


def _figures(report: Report, results: Results, out: Path) -> list[Path]:
    files: list[Path] = []
    for figure in results.figures:
        if figure == "7":
            files += figures.fidelity(report, results, out)
        elif figure == "8":
            files += figures.batches(report, results, out)
        else:
            files += figures.sweep(report, results, figure, out)
    return files


def _protocol(report: Report, results: Results) -> None:
    report.heading("Protocol")
    machine = harness.machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    held = "; ".join(
        f"{data}: " + ", ".join(f"{name} {value}" for name, value in params.items())
        for data, params in HELD.items()
        if any(source.data == data for source in results.sources)
    )
    lines = [
        f"{len(results.names)} systems; on an ACIC file run s is seed s ({results.seeds} at most), on IHDP realisation "
        "s + 1. Under one seed all systems share the split, 70 / 15 / 15 % with equal shares of treated units, so "
        "differences are taken run by run.",
        "Covariates and outcomes are not scaled, as in the paper; ACIC's categorical columns are 0/1 columns. Networks "
        f"have the package's defaults but for {held}; the discrepancy joins in from the first epoch.",
        "escfr has the product reference; the paper's entropy reference is a row of its own.",
        "Networks are fitted once and judged after every epoch, without early stop. The epoch is chosen by the "
        f"{NAMES[results.criterion]} of the validation part unless said otherwise. Counterfactual outcomes are read "
        "for the report alone.",
        _searched(results),
        f"{machine['cpu']}, {machine['cores']} cores; {versions}.",
    ]
    report.bullets(line for line in [*lines, *results.notes] if line)


def _searched(results: Results) -> str:
    if not results.found:
        return "No search: every system has the parameters above."
    finished = [found.finished for found in results.found.values()]
    counts = str(min(finished)) if min(finished) == max(finished) else f"{min(finished)} to {max(finished)}"
    asked = max(found.asked for found in results.found.values())
    rule = "; the defaults are left only for a gain above one standard error, seed by seed" * (results.search_seeds > 1)
    return (
        "Search by optuna, the defaults first, by the factual error of the validation part on the first data set of "
        f"each kind and {results.search_seeds} seed(s) whose splits are not reported: {counts} of {asked} trials a "
        f"network{rule}. The units are those of the reported runs, otherwise split."
    )


def _chosen(report: Report, results: Results) -> None:
    """List what the search has left the defaults for."""
    lines = []
    for name, found in results.found.items():
        if not found.trials or found.value is None:
            continue
        default = found.trials[0]
        changed = {key: value for key, value in found.params.items() if default["params"].get(key) != value}
        text = ", ".join(f"{key} {value:g}" for key, value in changed.items()) or "the defaults"
        before = "-" if default["value"] is None else f"{default['value']:.4f}"
        lines.append([name, text, f"{found.value:.4f}", before])
    if lines:
        report.heading("Parameters chosen on validation parts")
        report.table(["network", "chosen", "factual error / sd(y)", "of the defaults"], lines)


def _left_out(results: Results) -> list[str]:
    lines = left_out.lines(results)
    if SLOW in results.names and any(source.data == ACIC for source in results.sources) and results.seeds > 1:
        lines.append(
            f"cut by design: {SLOW} has one seed an ACIC file and no figures within the sample there, because it "
            "refits at every point; it is not ranked."
        )
    for name, found in results.found.items():
        if found.finished < found.asked:
            lines.append(f"cut: search of {name}, {found.finished} of {found.asked} trials finished")
    if any(source.data == IHDP for source in results.sources):
        lines.append("not here: IHDP's realisations beyond the ten files, and draws of ACIC beyond one a file.")
    return lines


def _content(results: Results, command: str, kept: Mapping[str, Any], tests: list[Comparison]) -> dict[str, Any]:
    return {
        "benchmark": "treatment_effects",
        "command": command,
        "date": str(datetime.date.today()),
        "machine": harness.machine(PACKAGES),
        "seeds": results.seeds,
        "criterion": results.criterion,
        "notes": results.notes,
        "search": {name: vars(found) for name, found in results.found.items()},
        "selection": [asdict(one) for one in selection.fidelity(results)],
        "standings": dict(kept),
        "parts": [[first, second, d.record(), p] for first, second, d, p in goals.parts(results)],
        "tests": [vars(one) | {"difference": one.difference.record()} for one in tests],
        "left_out": _left_out(results),
        "summary": _summary(results),
    }


def _summary(results: Results) -> list[dict[str, Any]]:
    """Means of the rows of Table 1 by data set and metric, and PEHE by rule."""
    found = []
    for row in results.rows:
        for source in results.sources:
            wanted = [(results.criterion, metric) for metric in SUMMED]
            wanted += [(rule, "pehe_out") for rule in RULES if rule != results.criterion]
            for rule, metric in wanted:
                summary = results.summary(metric, row, source, rule)
                if summary is not None:
                    place = {"row": row.label, "data": source.label, "rule": rule, "metric": metric}
                    found.append(place | summary.record())
    return found
