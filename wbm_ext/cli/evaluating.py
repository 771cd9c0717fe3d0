"""``wbm evaluate``: metrics of a model file on a table it has not seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import fit_options, names
from wbm_ext.cli.outcome import command, fail, note, say
from wbm_ext.cli.predicting import load
from wbm_ext.cli.runfile import settings
from wbm_ext.cli.units import seen_by
from wbm_ext.datasets.text import read_table
from wbm_ext.errors import check_name


@command
def evaluate(
    ctx: typer.Context,
    table: options.Table,
    model: options.Model,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    observed: options.Observed = None,
    duplicates: options.Duplicates = None,
    skip_unknown: options.SkipUnknown = False,
    k: Annotated[int, typer.Option("-k", help="Length of the lists for NDCG and F1.")] = 5,
    treatment: options.Treatment = None,
    treated: options.Treated = None,
    outcome: options.Outcome = None,
    mu0: Annotated[str | None, typer.Option(help="Column of true expected outcomes without treatment.")] = None,
    mu1: Annotated[str | None, typer.Option(help="Column of true expected outcomes with treatment.")] = None,
    at_least: Annotated[list[str] | None, typer.Option(help="Goal metric=value; exit code 1 if missed.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Goal metric=value; exit code 1 if missed.")] = None,
    as_json: options.Json = False,
    device: options.Device = "cpu",
    config: options.Config = None,
) -> None:
    """Print the metrics of a fitted system on held-out ratings or units.

    wbm evaluate test.csv --model model.pt --at-least auc=0.7
    """
    estimator = load(model, device)
    fitted = fit_options(model)
    given = {"user": user, "item": item, "rating": rating, "treatment": treatment, "outcome": outcome}
    if estimator.room == "recommender":
        reading = {
            **names(("user", "item", "rating"), given, fitted),
            "observed": observed or fitted.get("observed"),
            "duplicates": duplicates or fitted.get("duplicates") or "error",
            "unknown": "skip" if skip_unknown else "error",
        }
        metrics = _of_ratings(estimator, table, reading, k)
    else:
        roles = names(("treatment", "outcome"), given, fitted)
        metrics = _of_units(estimator, table, roles, treated or fitted.get("treated"), {"mu0": mu0, "mu1": mu1})
    missed = _missed(metrics, at_least, at_most)
    if as_json:
        defined = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        typer.echo(json.dumps({"system": estimator.name, "metrics": defined, "missed": missed}, indent=1))
    else:
        for name, value in metrics.items():
            say(f"{name}: {value:.6g}")
    if missed:
        fail(f"goal missed: {'; '.join(missed)}")


def _of_ratings(estimator: Any, table: Path, reading: dict[str, Any], k: int) -> dict[str, float]:
    from wbm_ext import metrics as figures
    from wbm_ext.datasets import overlap, read_ratings
    from wbm_ext.recommender.judging import judge

    fitted = estimator.observed_
    known = {"n_users": estimator.n_users_, "n_items": estimator.n_items_}
    data = read_ratings(table, **reading, **(known if fitted.user_labels is None else {"labels": fitted}))
    metrics: dict[str, float] = {"pairs": len(data), **judge(estimator, data, k)}
    scores, labels = estimator.predict(data.users, data.items), data.binarize(estimator.threshold)
    lists = (data.users, labels, scores)
    metrics |= {
        f"precision@{k}": figures.precision_at_k(*lists, k),
        f"recall@{k}": figures.recall_at_k(*lists, k),
        f"hit_rate@{k}": figures.hit_rate_at_k(*lists, k),
        f"coverage@{k}": figures.coverage_at_k(data.users, data.items, scores, data.n_items, k),
        "brier": float(figures.brier_score(scores, labels)),
        **_log_losses(scores, labels, estimator.propensity(data.users, data.items)),
    }
    tied = figures.tied_users(data.users, scores)
    if tied:
        note(
            f"warning: {tied:.1%} of the users have pairs of one score; their lists at {k} follow the order of the rows"
        )
    seen = overlap(fitted, data)
    if seen.any():
        metrics["pairs_of_the_fit"] = int(seen.sum())
    return metrics


def _log_losses(scores: Any, labels: Any, propensity: Any) -> dict[str, float]:
    """Return the log loss of the pairs, and its self-normalised estimate over all pairs, Σ e / q / Σ 1 / q.

    The second is for a table whose pairs users have chosen; of pairs at random the first is.
    """
    import numpy as np

    scores = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    errors = -np.where(labels > 0, np.log(scores), np.log1p(-scores))
    weights = 1 / propensity.astype(np.float64)
    return {"log_loss": float(errors.mean()), "log_loss_snips": float((weights * errors).sum() / weights.sum())}


def _of_units(
    estimator: Any, path: Path, roles: dict[str, str], treated: str | None, truth: dict[str, str | None]
) -> dict[str, float]:
    from wbm_ext.datasets import Treatments
    from wbm_ext.metrics import effect_report

    table = read_table(path)
    x = seen_by(estimator, table)
    treatment, y = table.treatments(roles["treatment"], treated), table.numbers(roles["outcome"])
    known = {name: table.numbers(column) for name, column in truth.items() if column is not None}
    outcomes = estimator.predict_outcomes(x)
    data = Treatments(estimator.covariates_.transform(x), treatment, y, **known)  # type: ignore[arg-type]
    return {"units": len(data), **effect_report(data, outcomes[:, 0], outcomes[:, 1])}


def _missed(metrics: dict[str, float], at_least: list[str] | None, at_most: list[str] | None) -> list[str]:
    missed = []
    for goals, sign, word in ((at_least, 1, "at least"), (at_most, -1, "at most")):
        for name, bound in settings(goals, "--" + word.replace(" ", "-"), "auc=0.7"):
            value = metrics[check_name("metric of a goal", name, metrics)]
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                raise ValueError(f"the goal of {name} must be a number; got {bound!r}")
            if not sign * value >= sign * bound:  # a metric that is not defined misses its goal
                missed.append(f"{name} must be {word} {bound:g}, is {value:.6g}")
    return missed
