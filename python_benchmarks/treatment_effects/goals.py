"""What the study aims at, and whether it was reached: ESCFR first, each of its parts better than neither."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from python_benchmarks._study import Difference, holm, paired
from python_benchmarks._study.page import Report, interval_text, p_text
from python_benchmarks.treatment_effects.protocol import (
    ABLATION,
    NEITHER,
    OURS,
    PFOR,
    RMPR,
    RMPR_ENTROPY,
    VARIANTS,
    Row,
)
from python_benchmarks.treatment_effects.ranks import Standing, common, standings
from python_benchmarks.treatment_effects.results import Results, pooled
from python_benchmarks.treatment_effects.selection import NAMES
from wbm_ext.ite.selection import CRITERIA

LEVEL = 0.05


def ranking(report: Report, results: Results) -> dict[str, list[dict[str, Any]]]:
    """Write ranks at the criterion of the study, and a line for each other one; return all standings."""
    kept: dict[str, list[dict[str, Any]]] = {}
    lines = []
    for criterion in (results.criterion, *(name for name in CRITERIA if name != results.criterion)):
        scores, without = common(results.scores(results.rows, criterion))
        if OURS not in scores or len(scores) < 2:
            continue
        found = standings(scores, OURS)
        kept[criterion] = [asdict(one) for one in found]
        if criterion == results.criterion:
            fixed = {one.system: one for one in standings(scores, OURS, resample_data=False)}
            _ranks(report, scores[OURS], found, fixed, without)
        lines.append(_verdict(found, criterion))
    report.bullets(lines)
    return kept


def _ranks(
    report: Report,
    runs: dict[str, dict[int, float]],
    found: list[Standing],
    fixed: dict[str, Standing],
    without: list[str],
) -> None:
    places = ", ".join(runs)
    counts = ", ".join(f"{data} {len(some)}" for data, some in runs.items())
    report.heading(f"Ranks over {places}")
    report.text(
        f"Out-of-sample PEHE / sd(τ), mean over the runs that all have ({counts}), then over data sets. Intervals and "
        f"p of {OURS} minus the other system are from a bootstrap over data sets and, within each, over runs; with "
        f"{len(runs)} data set(s) it is coarse. The last column draws runs alone: it speaks of these data sets "
        "only. p are adjusted by Holm." + (f" Not ranked, for want of runs: {', '.join(without)}." if without else "")
    )
    lines = []
    for one in found:
        other = fixed[one.system]
        line = [one.system, f"{one.score:.3f}", f"{one.rank} [{one.low_rank:.0f}, {one.high_rank:.0f}]"]
        if one.difference is None:
            lines.append([*line, "-", "-", "-", "-"])
            continue
        lines.append([*line, *_gap(one), *_gap(other)])
    head = ["system", "score", "rank [95 %]", f"{OURS} minus it", "p, Holm"]
    report.table([*head, "runs drawn alone", "p, Holm"], lines)


def _gap(one: Standing) -> list[str]:
    return [f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]", p_text(one.p_holm)]


def _verdict(found: list[Standing], criterion: str) -> str:
    ours = next(one for one in found if one.system == OURS)
    variants = {row.label for row in VARIANTS}
    rivals = [one for one in found if one.system not in variants and one.system != OURS]
    ahead = [one for one in rivals if one.score < ours.score]
    beaten = [one for one in rivals if one.p_holm is not None and one.p_holm <= LEVEL and (one.difference or 0) < 0]
    head = f"Goal, {OURS} first of {len(rivals) + 1} systems at the epoch of the {NAMES[criterion]}: "
    if not ahead:
        return head + f"reached ({ours.score:.3f}); {len(beaten)} of {len(rivals)} differences hold after Holm."
    names = ", ".join(f"{one.system} ({one.score:.3f})" for one in ahead)
    return head + f"missed; {ours.score:.3f}, behind {names}; {len(beaten)} differences in its favour hold after Holm."


def parts(results: Results, rule: str | None = None) -> list[tuple[str, str, Difference, float | None]]:
    """Row against neither, and ESCFR against each: scaled PEHE over all runs, Holm's p of the paired t-test."""
    rows = {row.label: row for row in (*ABLATION, Row(OURS, OURS))}
    pairs = [(RMPR, NEITHER), (RMPR_ENTROPY, NEITHER), (PFOR, NEITHER), (OURS, NEITHER), (OURS, RMPR), (OURS, PFOR)]
    found = []
    for first, second in pairs:
        one, other = (pooled(results, "scaled_out", rows[name], results.goal, rule) for name in (first, second))
        if set(one) & set(other):
            found.append((first, second, paired(one, other)))
    adjusted = holm([difference.t_p for *_, difference in found])
    return [(*one, p) for one, p in zip(found, adjusted, strict=True)]


def part_rows(found: list[tuple[str, str, Difference, float | None]]) -> list[list[str]]:
    """Lines of the table of parts."""
    return [
        [first, second, interval_text(d, 3), f"{d.n - d.higher} of {d.n}", p_text(p)] for first, second, d, p in found
    ]


def part_sentences(found: list[tuple[str, str, Difference, float | None]]) -> list[str]:
    """Whether RMPR and PFOR each help alone."""
    lines = []
    for first, second, d, p in found:
        if second != NEITHER or first == OURS:
            continue
        verdict = "missed" if d.mean >= 0 else "reached" if p is not None and p <= LEVEL else "in its direction only"
        lines.append(f"Goal, {first} better than {NEITHER}: {verdict} ({d.mean:+.3f} PEHE / sd(τ), p {p_text(p)}).")
    return lines
