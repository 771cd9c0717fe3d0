"""The study as JSON, CSV, figures and a markdown report with the published figures beside ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks._study import Comparison, Summary
from python_benchmarks._study.figures import Panel, curves
from python_benchmarks._study.page import (
    Report,
    figure_text,
    interval_text,
    left_out,
    p_text,
    write_csv,
    write_figure,
    write_text,
)
from python_benchmarks._study.published import sentences
from python_benchmarks.recommendation import published
from python_benchmarks.recommendation.evaluate import LENGTH
from python_benchmarks.recommendation.protocol import FIGURES, LAMBDAS, SWEEPS, WBM, Source
from python_benchmarks.recommendation.results import (
    Results,
    beside_published,
    comparisons,
    gain_sentence,
    rows,
    title,
)
from wbm_ext.recommender import create

PACKAGES = ("scikit-learn", "scipy", "optuna", "joblib")
_AXES = {"learning_rate": "learning rate", "batch_size": "batch size", "embedding_dim": "embedding size"}


def write(results: Results, out: Path) -> list[Path]:
    """Write ``report.md``, ``results.json``, ``results.csv`` and the figures; return the files."""
    report = Report("Debiased recommendation: the study")
    _protocol(report, results)
    _chosen(report, results)
    files, tests = [], {}
    for source in results.sources:
        if "3" in results.tables:
            tests[source.name] = _table_3(report, results, source)
        if "4" in results.tables:
            _table_4(report, results, source)
        for figure in results.figures:
            if FIGURES[figure] == source.name or source.name == "synthetic":
                files += _figure(report, results, source, figure, out)
    cut = left_out(results.outcome, results.found)
    report.left_out(cut)
    records = [results.ledger.get(cell) or {} for cell in results.outcome.done]
    content = results.content(
        "recommendation", PACKAGES, cut, tolerance=published.TOLERANCE,
        comparisons={name: [asdict(one) for one in some] for name, some in tests.items()}, summary=rows(results),
        runs=[{name: value for name, value in record.items() if name != "key"} for record in records],
    )  # fmt: skip
    harness.write_json(out / "results.json", content)
    write_csv(out / "results.csv", rows(results))
    write_text(out / "report.md", str(report))
    return [out / "report.md", out / "results.json", out / "results.csv", *files]


def _protocol(report: Report, results: Results) -> None:
    over = ", ".join(next(iter(results.found.values())).trials[0]["params"]) if results.found else ""
    lines = [
        f"{len(results.names)} system(s), seeds 0 to {results.seeds - 1}; under one seed all systems share hold-out, "
        "initial embeddings and order of the observed batches, so differences are taken seed by seed.",
        f"The epoch is chosen by {_criterion(results)} on a tenth of the observed (biased) pairs, held out at random. "
        "Test pairs are read once, for the figures below; nothing is chosen by them.",
        "AUC is pooled over the test pairs; NDCG counts a user without a positive as 1; F1 is that of the mean "
        "precision and recall.",
        f"{results.searched(f' over {over}')} λ_b = 1.",
    ]
    results.begin(report, PACKAGES, lines)


def _criterion(results: Results) -> str:
    """What validation measures, as a word or two, with the systems that differ."""
    first = results.sources[0]
    metrics = {name: create(name, **results.cells(name, first)[0].params).validation_metric for name in results.names}
    words = {"log_loss": "log loss", "auc": "AUC"}
    common = max(words, key=list(metrics.values()).count)
    others = ", ".join(name for name, metric in metrics.items() if metric != common)
    return words[common] + (f" ({others}: {words['auc' if common == 'log_loss' else 'log_loss']})" if others else "")


def _chosen(report: Report, results: Results) -> None:
    """List what the search has chosen, system by system."""
    if not results.found:
        return
    report.heading("Parameters chosen on validation pairs")
    names = list(next(iter(results.found.values())).trials[0]["params"])
    report.table(
        ["system", *names, "validation", "of the defaults"],
        [
            [
                name,
                *(f"{found.params[parameter]:g}" if parameter in found.params else "-" for parameter in names),
                *("-" if value is None else f"{value:.4f}" for value in (found.value, found.trials[0]["value"])),
            ]
            for name, found in results.found.items()
        ],
    )


def _table_3(report: Report, results: Results, source: Source) -> list[Comparison]:
    k = LENGTH[source.name]
    report.heading(f"Table 3, {source.name}: mean ± sd over seeds, published beside")
    head = ["system"]
    for metric in published.METRICS:
        head += [title(metric, k), "published"]
    unseen = any(results.sample("auc_unseen", system, source) for system in results.names)
    lines = []
    for system in results.names:
        printed = published.table_3(system, source.name)
        for label, params in [(system, {})] + ([(f"{system}, λ_b = 0", {"balance_weight": 0.0})] * (system in WBM)):
            line = [label]
            for metric in published.METRICS:
                value = printed.get(metric) if not params else None
                summary = results.summary(metric, system, source, **params)
                line += [figure_text(summary), "-" if value is None else f"{value:.3f}"]
            if unseen:
                line.append(figure_text(results.summary("auc_unseen", system, source, **params)))
            lines.append(line)
    report.table([*head, *(["AUC, unseen pairs"] if unseen else [])], lines)
    besides = beside_published(results, source, "3")
    report.bullets(sentences(besides))
    if source.name == "coat":
        report.bullets(_goals(results, source))
    found = comparisons(results, source)
    if found:
        report.heading(f"Does balancing pay on {source.name}?")
        report.text(
            "Differences are paired by seed, with 95 % t-intervals. Paired t and Wilcoxon p are adjusted by Holm over "
            "the table; the two-sample p (Welch) is what the paper's stars rest on. The best baseline is picked by its "
            "reported mean, as in the paper."
        )
        report.table(
            ["system", "against", "metric", "difference [95 %]", "higher in", "t", "Wilcoxon", "two-sample, raw"],
            [_comparison_row(one, k) for one in found],
        )
        report.bullets(gain_sentence(one, k) for one in found if one.kind == "λ_b = 0")
    return found


def _comparison_row(one: Comparison, k: int) -> list[str]:
    d = one.difference
    tests = [p_text(p) for p in (one.t_holm, one.wilcoxon_holm, one.two_sample_p)]
    return [one.row, one.rival, title(one.metric, k), interval_text(d), f"{d.higher} of {d.n}", *tests]


def _goals(results: Results, source: Source) -> list[str]:
    k, lines = LENGTH[source.name], []
    for (system, metric), goal in published.GOALS.items():
        ours = results.summary(metric, system, source) if system in results.names else None
        if ours is not None:
            verdict = "reached" if ours.mean >= goal else "missed"
            lines.append(f"Goal {title(metric, k)} of {system} >= {goal:.3f}: {verdict} ({figure_text(ours, 4)}).")
    return lines


def _table_4(report: Report, results: Results, source: Source) -> None:
    k = LENGTH[source.name]
    report.heading(f"Table 4, {source.name}: weight of WBM")
    head = ["system", "λ_b"]
    for metric in published.METRICS:
        head += [title(metric, k), "published"]
    lines = []
    for system in (name for name in results.names if name in WBM):
        for weight in LAMBDAS:
            printed = published.table_4(system, weight, source.name)
            line = [system, f"{weight:g}"]
            for metric in published.METRICS:
                summary = results.summary(metric, system, source, balance_weight=weight)
                line += [figure_text(summary), f"{printed[metric]:.3f}" if printed else "-"]
            lines.append(line)
    report.table(head, lines)
    report.text("All rows of a system have the parameters chosen at λ_b = 1.")
    report.bullets(sentences(beside_published(results, source, "4")))


def _figure(report: Report, results: Results, source: Source, figure: str, out: Path) -> list[Path]:
    k, panels = LENGTH[source.name], []
    for metric in ("f1", "ndcg"):
        for parameter, values in SWEEPS.items():
            lines: dict[str, list[tuple[float, Summary]]] = {}
            for system in (name for name in results.names if name in WBM):
                for value in values:
                    summary = results.summary(metric, system, source, **{parameter: value})
                    if summary is not None:
                        lines.setdefault(system, []).append((value, summary))
            panels.append(Panel("", _AXES[parameter], title(metric, k), lines, x_log=True))
    if not any(panel.lines for panel in panels):
        return []
    heading = f"Figure {figure}, {source.name}: learning rate, batch size, embedding size"
    report.heading(heading)
    report.image(f"figure{figure}-{source.name}.png", heading)
    report.text("Means over seeds; shaded: 95 % t-interval of the mean. The paper shades 99.9 %.")
    path = out / f"figure{figure}-{source.name}.png"
    write_figure(path, curves(panels, columns=len(SWEEPS), title=f"{source.name}, mean and 95 % interval over seeds"))
    return [path]
