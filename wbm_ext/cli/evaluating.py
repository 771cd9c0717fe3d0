"""``wbm evaluate``: metrics of a model file on a table it has not seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.asking import load
from wbm_ext.cli.columns import names
from wbm_ext.cli.frames import read_frame, take
from wbm_ext.cli.outcome import command, fail, say
from wbm_ext.cli.runfile import settings
from wbm_ext.cli.units import seen_by
from wbm_ext.errors import check_name


@command
def evaluate(
    ctx: typer.Context,
    table: options.Table,
    model: options.Model,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    k: Annotated[int, typer.Option("-k", help="Length of the lists for NDCG and F1.")] = 5,
    treatment: options.Treatment = None,
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
    given = {"user": user, "item": item, "rating": rating, "treatment": treatment, "outcome": outcome}
    if estimator.room == "recommender":
        metrics = _of_ratings(estimator, table, names(("user", "item", "rating"), given, model), k)
    else:
        metrics = _of_units(estimator, table, names(("treatment", "outcome"), given, model), mu0, mu1)
    missed = _missed(metrics, at_least, at_most)
    if as_json:
        defined = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        typer.echo(json.dumps({"system": estimator.name, "metrics": defined, "missed": missed}, indent=1))
    else:
        for name, value in metrics.items():
            say(f"{name}: {value:.6g}")
    if missed:
        fail(f"goal missed: {'; '.join(missed)}")


def _of_ratings(estimator: Any, table: Path, roles: dict[str, str], k: int) -> dict[str, float]:
    from wbm_ext.datasets import overlap, read_ratings
    from wbm_ext.metrics import brier_score
    from wbm_ext.recommender.judging import judge

    fitted = estimator.observed_
    known = {"n_users": estimator.n_users_, "n_items": estimator.n_items_}
    data = read_ratings(table, **roles, **(known if fitted.user_labels is None else {"labels": fitted}))
    metrics: dict[str, float] = {"pairs": len(data), **judge(estimator, data, k)}
    metrics["brier"] = float(brier_score(estimator.predict(data.users, data.items), data.binarize(estimator.threshold)))
    seen = overlap(fitted, data)
    if seen.any():
        metrics["pairs_of_the_fit"] = int(seen.sum())
    return metrics


def _of_units(estimator: Any, table: Path, roles: dict[str, str], mu0: str | None, mu1: str | None) -> dict[str, float]:
    from wbm_ext.datasets import Treatments
    from wbm_ext.metrics import effect_report

    frame = read_frame(table)
    truth = {name: column for name, column in (("mu0", mu0), ("mu1", mu1)) if column is not None}
    take(frame, [*roles.values(), *truth.values()], table)
    x = seen_by(estimator, frame, table)
    outcomes = estimator.predict_outcomes(x)
    data = Treatments(
        estimator.covariates_.transform(x),
        frame[roles["treatment"]],
        frame[roles["outcome"]],
        **{name: frame[column] for name, column in truth.items()},
    )
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
