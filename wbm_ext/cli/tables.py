"""A comparison as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_HEADS = {"auc": "AUC", "auc_unseen": "AUC unseen"}


def _cell(figure: Mapping[str, float | None]) -> str:
    """Return mean±sd, to three digits and without the zero before the point: four columns fit 80 characters."""
    return "±".join(f"{figure[part]:.3f}".removeprefix("0") for part in ("mean", "sd") if figure[part] is not None)


def metrics_table(result: Mapping[str, Any]) -> Table:
    """Return AUC, NDCG and F1 on the unbiased test pairs, mean ± sd over seeds, and seconds a fit."""
    seeds = result["setting"]["seeds"]
    table = Table(title=f"{result['data']['name']}: unbiased test pairs, mean ± sd over {seeds} seed(s)")
    table.add_column("system")
    summaries = {name: system["summary"] for name, system in result["systems"].items()}
    metrics = list(next(iter(summaries.values()))["metrics"])
    for metric in metrics:
        table.add_column(_HEADS.get(metric, metric.upper()), justify="right")
    table.add_column("s / fit", justify="right")
    for name, summary in summaries.items():
        cells = [_cell(summary["metrics"][metric]) for metric in metrics]
        table.add_row(name, *cells, f"{summary['seconds']['mean']:.1f}")
    return table


def balance_table(result: Mapping[str, Any]) -> Table:
    """Return distances before and after weighting, effective sample sizes and clipping, means over seeds."""
    first = next(iter(result["systems"].values()))["runs"][0]["balance"]
    table = Table(
        pad_edge=False,
        title=f"balance of {first['n_treated']} observed and {first['n_untreated']} unobserved pairs, "
        f"in {first['representation']}",
        caption=(
            "WBM: transport cost / its mean. SMD: mean absolute standardised mean difference. Two random samples "
            f"of all pairs have WBM {first['wbm_random']:.4f}, SMD {first['smd_random']:.3f}."
        ),
    )
    table.add_column("system", no_wrap=True)
    heads = ("WBM\nbefore", "\nafter", "SMD\nbefore", "\nafter", "ESS\nobs.", "\nunobs.", "clipped", "max\nweight")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, system in result["systems"].items():
        figures = {key: figure["mean"] for key, figure in system["summary"]["balance"].items()}
        table.add_row(
            name,
            *(f"{figures[key]:.4f}".removeprefix("0") for key in ("wbm_before", "wbm_after")),
            *(f"{figures[key]:.3f}".removeprefix("0") for key in ("smd_before", "smd_after")),
            *(f"{figures[key]:.0f}" for key in ("ess_treated", "ess_untreated")),
            *(f"{figures[key]:.1%}" for key in ("clipped_share", "largest_share_treated")),
        )
    return table
