"""``wbm predict``, ``recommend`` and ``effect``: what a fitted system says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import names, room_of, split
from wbm_ext.cli.fitting import make, training_units
from wbm_ext.cli.frames import check_out, read_frame, take, write_frame
from wbm_ext.cli.naming import called, known_ids
from wbm_ext.cli.outcome import command, note, say
from wbm_ext.cli.runfile import settings, write_run
from wbm_ext.cli.units import seen_by
from wbm_ext.errors import require_extra

Level = Annotated[float, typer.Option(help="Nominal coverage of intervals.")]


@command
def predict(
    ctx: typer.Context,
    table: options.Table,
    model: options.Model,
    user: options.User = None,
    item: options.Item = None,
    propensity: Annotated[bool, typer.Option("--propensity", help="Add P(observed) of each pair.")] = False,
    out: options.Out = None,
    device: options.Device = "cpu",
    config: options.Config = None,
) -> None:
    """Predict P(positive) of pairs, or both outcomes of units; CSV on standard output without --out."""
    check_out(out)
    estimator, frame = load(model, device), read_frame(table)
    if estimator.room == "recommender":
        roles = names(("user", "item"), {"user": user, "item": item}, model)
        take(frame, roles.values(), table)
        result = frame[list(roles.values())].copy()
        pairs = [known_ids(estimator, role, frame[column]) for role, column in roles.items()]
        result["probability"] = estimator.predict(*pairs)
        if propensity:
            result["propensity"] = estimator.propensity(*pairs)
    else:
        outcomes = estimator.predict_outcomes(seen_by(estimator, frame, table))
        result = _frame({"outcome0": outcomes[:, 0], "outcome1": outcomes[:, 1]})
    _deliver(ctx, result, out)


@command
def recommend(
    ctx: typer.Context,
    model: options.Model,
    users: Annotated[str, typer.Option("--users", "-u", help="Users joined by commas, or 'all'.")],
    k: Annotated[int, typer.Option("-k", help="Items for each user.")] = 10,
    rated: Annotated[bool, typer.Option("--rated", help="Also items that the user has rated.")] = False,
    out: options.Out = None,
    device: options.Device = "cpu",
    config: options.Config = None,
) -> None:
    """Recommend the best items to users of a fitted recommender; CSV on standard output without --out."""
    check_out(out)
    estimator = load(model, device)
    if estimator.room != "recommender":
        raise ValueError(f"{model} holds {estimator.name!r}, a treatment-effect system: nothing to recommend")
    rows: dict[str, list[Any]] = {"user": [], "rank": [], "item": [], "probability": []}
    asked = range(estimator.n_users_) if users == "all" else _ids(estimator, users)
    for person in asked:
        items, scores = estimator.recommend(person, k, exclude=None if rated else "observed")
        user, things = (called(estimator, *what) for what in (("user", [person]), ("item", items.tolist())))
        for rank, (thing, score) in enumerate(zip(things, scores.tolist(), strict=True), start=1):
            for name, value in zip(rows, (user[0], rank, thing, score), strict=True):
                rows[name].append(value)
    _deliver(ctx, _frame(rows).astype({"probability": "float32"}), out)


@command
def effect(
    ctx: typer.Context,
    table: options.Table,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file that 'wbm fit' has written.")] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instead: fit this to the table.")] = None,
    treatment: options.Treatment = None,
    outcome: options.Outcome = None,
    covariates: Annotated[
        str | None, typer.Option("--covariates", help="With --system: columns joined by commas.")
    ] = None,
    leave_out: Annotated[str | None, typer.Option(help="With --system: columns that are no covariates.")] = None,
    parameter: options.Parameter = None,
    level: Level = 0.95,
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    progress: options.Progress = True,
    config: options.Config = None,
) -> None:
    """Estimate treatment effects: the means, and with --out the effect of each unit.

    wbm effect units.csv --model model.pt --out effects.csv

    wbm effect units.csv --system ols --treatment t --outcome y -p n_bootstrap=200
    """
    check_out(out)
    if (model is None) == (system is None):
        raise ValueError("give either --model, a fitted system, or --system, one to fit to the table")
    given = {"treatment": treatment, "outcome": outcome, "covariates": covariates, "leave_out": leave_out}
    if model is not None:
        estimator = load(model, device)
        if estimator.room != "ite":
            raise ValueError(f"{model} holds {estimator.name!r}, a recommender: it estimates no effects")
        frame = read_frame(table)
        x, role = seen_by(estimator, frame, table), names(("treatment",), given, model)["treatment"]
        treated = frame[take(frame, [role], table)[0]] if treatment is not None or role in frame.columns else None
    else:
        assert system is not None
        if room_of(system) != "ite":
            raise ValueError(f"system {system!r} is a recommender: it estimates no effects; see 'wbm systems'")
        estimator = make("ite", system, settings(parameter), seed=seed, device=device, progress=progress)
        x, y, treated = training_units(table, given)
        estimator.fit(x, y, treatment=treated)
    say(f"average effect: {estimator.ate(x, level=level)}")
    if treated is not None:
        say(f"average effect on the treated: {estimator.att(x, treated, level=level)}")
    if out is not None:
        _deliver(ctx, _effects(estimator, x, level), out)


def load(path: Path, device: str) -> Any:
    """Return the estimator of a model file, on ``device``."""
    import wbm_ext
    from wbm_ext.parameters import check_device

    check_device(device)
    return wbm_ext.load(path, map_location=device)


def _effects(estimator: Any, x: Any, level: float) -> Any:
    columns = {"effect": estimator.effect(x)}
    try:
        columns["lower"], columns["upper"] = estimator.effect_interval(x, level=level)
    except ValueError as error:
        note(f"no intervals: {error}")
    return _frame(columns)


def _ids(estimator: Any, text: str) -> list[int]:
    words = split(text)
    if not words:
        raise ValueError(f"--users must be users joined by commas, or 'all'; got {text!r}")
    if estimator.observed_.user_labels is not None:
        return known_ids(estimator, "user", words).tolist()
    try:
        return [int(word) for word in words]
    except ValueError:
        raise ValueError(f"--users must be integers joined by commas, or 'all'; got {text!r}") from None


def _frame(columns: dict[str, Any]) -> Any:
    return require_extra("pandas", "data", "a table as the result").DataFrame(columns)


def _deliver(ctx: typer.Context, frame: Any, out: Path | None) -> None:
    if out is None:
        typer.echo(frame.to_csv(index=False), nl=False)
        return
    write_frame(frame, out)
    write_run(ctx, out.with_suffix(".toml"))
    say(f"wrote {len(frame)} rows to {out}, and {out.with_suffix('.toml')}")
