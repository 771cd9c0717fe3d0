"""The study as JSON, CSV, figures and a markdown report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from python_benchmarks import _harness as harness
from python_benchmarks._study import Comparison
from python_benchmarks._study.page import Report, left_out, write_csv, write_text
from python_benchmarks.treatment_effects import figures, goals, selection, tables
from python_benchmarks.treatment_effects.data import ACIC, IHDP
from python_benchmarks.treatment_effects.evaluate import RULES, SLOW
from python_benchmarks.treatment_effects.protocol import HELD
from python_benchmarks.treatment_effects.results import Results, run_rows
from python_benchmarks.treatment_effects.selection import NAMES

SUMMED = ("pehe_out", "scaled_out", "auuc_out", "pehe_in", "auuc_in", "ate_out", "att_out", "rmse_f_out", "rmse_cf_out")
PACKAGES = ("scikit-learn", "econml", "scipy", "optuna", "joblib")


def write(results: Results, out: Path) -> list[Path]:
    """Write ``report.md``, ``results.json``, ``runs.csv`` and the figures; return the files."""
    report = Report("Treatment effects: the study")
    _protocol(report, results)
    _chosen(report, results)
    selection.section(report, results)
    standings: dict[str, Any] = {}
    tests: list[Comparison] = []
    if "1" in results.tables:
        standings = goals.ranking(report, results)
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
    cut = _left_out(results)
    report.left_out(cut)
    content = results.content(
        "treatment_effects", PACKAGES, cut, criterion=results.criterion,
        selection=[asdict(one) for one in selection.fidelity(results)], standings=standings,
        parts=[[first, second, d.record(), p] for first, second, d, p in goals.parts(results)],
        tests=[asdict(one) for one in tests], summary=_summary(results),
    )  # fmt: skip
    harness.write_json(out / "results.json", content)
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
        "Networks are fitted once and evaluated after every epoch, without early stop. The epoch is chosen by the "
        f"{NAMES[results.criterion]} of the validation part unless said otherwise. Counterfactual outcomes are read "
        "for the report alone.",
        results.searched(" on the first data set of each kind, by the factual error", "network")
        + " The units are those of the reported runs, otherwise split." * bool(results.found),
    ]
    results.begin(report, PACKAGES, lines)


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
    lines = left_out(results.outcome, results.found)
    if SLOW in results.names and any(source.data == ACIC for source in results.sources) and results.seeds > 1:
        lines.append(
            f"cut by design: {SLOW} has one seed an ACIC file and no figures within the sample there, because it "
            "refits at every point; it is not ranked."
        )
    if any(source.data == IHDP for source in results.sources):
        lines.append("not here: IHDP's realisations beyond the ten files, and draws of ACIC beyond one a file.")
    return lines


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
