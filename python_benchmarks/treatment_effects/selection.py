"""The study of selection: each network at the epoch that each criterion chooses, and how well the criteria tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from python_benchmarks._study import Summary, summarize
from python_benchmarks._study.page import Report, figure_text
from python_benchmarks.treatment_effects.evaluate import RULES
from python_benchmarks.treatment_effects.protocol import Row, network
from python_benchmarks.treatment_effects.results import Results, pooled
from wbm_ext.ite.selection import CRITERIA

NAMES = {
    "auuc": "AUUC",
    "factual": "factual error",
    "matched_pehe": "matched PEHE",
    "auuc_late": "AUUC, last two thirds",
    "last": "last epoch",
    "oracle": "oracle",
}
SKIPPED = 5  # first epochs, in which everything falls, are left out of rank correlations


@dataclass(frozen=True)
class Fidelity:
    """How well a criterion tells the test PEHE.

    Attributes
    ----------
    within : Summary or None
        Spearman's correlation with PEHE over the epochs of a run, mean over runs; a criterion to be trusted is near 1.
    regret : Summary or None
        PEHE at the chosen epoch over that of the oracle, minus 1.
    between : float or None
        Spearman's correlation of the chosen epochs' values with their PEHE over systems, mean over the runs.
    """

    criterion: str
    within: Summary | None
    regret: Summary | None
    between: float | None


def networks(results: Results) -> list[Row]:
    return [row for row in results.rows if network(row.system)]


def fidelity(results: Results) -> list[Fidelity]:
    """Each criterion, over all networks and runs of the data whose effects differ."""
    return [_one(results, criterion) for criterion in CRITERIA]


def _one(results: Results, criterion: str) -> Fidelity:
    sign = -1 if criterion == "auuc" else 1
    within, regret = [], []
    by_run: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in networks(results):
        for source in results.goal:
            for run, record in results.records(row, source).items():
                curve, chosen = record["curve"], record["epochs"][criterion]
                tail = [np.asarray(curve[name][SKIPPED:]) for name in (criterion, "pehe")]
                if len(tail[0]) > 2 and all(np.ptp(part) > 0 for part in tail):
                    within.append(sign * float(spearmanr(*tail).statistic))
                metrics = record["metrics"]
                regret.append(metrics[f"{criterion}.pehe_out"] / metrics["oracle.pehe_out"] - 1)
                value = sign * curve[criterion][chosen - 1]
                by_run.setdefault((source.label, run), []).append((value, metrics[f"{criterion}.pehe_out"]))
    between = [
        float(spearmanr(*zip(*pairs, strict=True)).statistic)
        for pairs in by_run.values()
        if len(pairs) > 2 and all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
    ]
    correlation, loss = (summarize(values) if values else None for values in (within, regret))
    return Fidelity(criterion, correlation, loss, float(np.mean(between)) if between else None)


def section(report: Report, results: Results) -> None:
    """Write the selection study."""
    rows = [row for row in networks(results) if any(results.records(row, source) for source in results.goal)]
    if not rows or not results.goal:
        return
    places = ", ".join(source.label for source in results.goal)
    report.heading("Selection: out-of-sample PEHE / sd(τ) at the epoch each rule chooses")
    report.text(
        f"Means ± sd over all runs of {places}, one fit a run: all rules choose from the same epochs. Rules but the "
        "oracle see factual outcomes of the validation part alone; the oracle reads the test part's truth and is for "
        "orientation only."
    )
    report.table(
        ["system", *(NAMES[rule] for rule in RULES)],
        [
            [
                row.label,
                *(figure_text(_summary(_scaled(results, row, rule))) for rule in RULES),
            ]
            for row in rows
        ],
    )
    found = fidelity(results)
    report.text(
        "How well the criteria tell: Spearman's correlation with the test PEHE over the epochs of a run (after the "
        f"first {SKIPPED}), the same over systems at their chosen epochs, and what is lost against the oracle. AUUC "
        "enters with its sign turned, so that 1 is a perfect criterion throughout."
    )
    report.table(
        ["criterion", "over epochs", "over systems", "PEHE over the oracle's, minus 1"],
        [
            [
                NAMES[one.criterion],
                figure_text(one.within, 2),
                "-" if one.between is None else f"{one.between:.2f}",
                figure_text(one.regret, 2),
            ]
            for one in found
        ],
    )
    report.bullets(sentences(found, results.criterion))


def sentences(found: Sequence[Fidelity], criterion: str) -> list[str]:
    """What follows: the criterion that loses least, and which one the study holds to."""
    known = {one.criterion: one.regret.mean for one in found if one.regret is not None}
    if not known:
        return []
    order = sorted(known, key=lambda name: known[name])
    losses = ", ".join(f"{NAMES[name]} {100 * known[name]:.0f} %" for name in order)
    return [
        f"Mean loss against the best epoch: {losses}.",
        f"The tables below stand at the epoch of the {NAMES[criterion]}, which was set before the runs, not by "
        "this table; the goals are also told at the other criteria.",
    ]


def _scaled(results: Results, row: Row, rule: str) -> dict[int, float]:
    return pooled(results, "scaled_out", row, results.goal, rule)


def _summary(values: dict[int, float]) -> Summary | None:
    return summarize(values.values()) if values else None
