"""A comparison as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_HEADS = {"auc": "AUC", "auc_unseen": "AUC, pairs not in train"}


def _cell(figure: Mapping[str, float | None], digits: int = 4) -> str:
    sd = "" if figure["sd"] is None else f" ± {figure['sd']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{sd}"


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
    """Return WBM before and after weighting, effective sample sizes, and clipping, means over seeds."""
    first = next(iter(result["systems"].values()))["runs"][0]["balance"]
    table = Table(
        title=f"balance of {first['n_treated']} observed and {first['n_untreated']} unobserved pairs, "
        f"in {first['representation']}",
        caption=f"WBM: transport cost / its mean; two random samples of all pairs: {first['wbm_random']:.4f}",
    )
    table.add_column("system")
    for head in ("WBM before", "WBM after", "ESS observed", "ESS unobserved", "clipped", "largest weight"):
        table.add_column(head, justify="right")
    for name, system in result["systems"].items():
        figures = system["summary"]["balance"]
        table.add_row(
            name,
            f"{figures['wbm_before']['mean']:.4f}",
            _cell(figures["wbm_after"]),
            f"{figures['ess_treated']['mean']:.0f}",
            f"{figures['ess_untreated']['mean']:.0f}",
            f"{figures['clipped_share']['mean']:.1%}",
            f"{figures['largest_share_treated']['mean']:.1%}",
        )
    return table
