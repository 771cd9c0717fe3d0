"""``wbm effect``: the effect of a treatment on the units of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import fit_options, names, room_of
from wbm_ext.cli.files import check_files
from wbm_ext.cli.fitting import make
from wbm_ext.cli.outcome import command, note, say
from wbm_ext.cli.page import write_page
from wbm_ext.cli.predicting import check_table_out, deliver, load
from wbm_ext.cli.runfile import settings
from wbm_ext.cli.units import seen_by, training_units
from wbm_ext.datasets.text import read_table


@command
def effect(
    ctx: typer.Context,
    table: options.Table,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file that 'wbm fit' has written.")] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instead: fit this to the table.")] = None,
    treatment: options.Treatment = None,
    treated: options.Treated = None,
    outcome: options.Outcome = None,
    covariates: options.Covariates = None,
    categorical: options.Categorical = None,
    leave_out: options.LeaveOut = None,
    identifier: options.Identifier = None,
    parameter: options.Parameter = None,
    level: Annotated[float, typer.Option(help="Nominal coverage of intervals.")] = 0.95,
    refute: Annotated[
        bool, typer.Option("--refute", help="Refit with a placebo treatment, a random cause, on subsets; takes longer.")
    ] = False,
    out: options.Out = None,
    html: Annotated[Path | None, typer.Option(help="File for a page with the summary and its plots.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    max_minutes: options.MaxMinutes = None,
    progress: options.Progress = True,
    config: options.Config = None,
) -> None:
    """Estimate treatment effects, with what speaks for and against them; with --out the effect of each unit.

    wbm effect units.csv --model model.pt --out effects.csv

    wbm effect units.csv --system ols --treatment t --outcome y --id name --refute --html effect.html
    """
    from wbm_ext.cli.limits import limits

    check_table_out(ctx, out, {"the table": table, "--model": model, "--config": config})
    check_files({"--out": out, "--html": html}, {"the table": table, "--model": model, "--config": config})
    if (model is None) == (system is None):
        raise ValueError("give either --model, a fitted system, or --system, one to fit to the table")
    given = {"treatment": treatment, "treated": treated, "outcome": outcome, "covariates": covariates}
    given |= {"categorical": categorical, "leave_out": leave_out, "id": identifier}
    if model is not None:
        estimator = load(model, device)
        if estimator.room != "ite":
            raise ValueError(f"{model} holds {estimator.name!r}, a recommender: it estimates no effects")
        fitted, rows = fit_options(model), read_table(table)
        x, roles = seen_by(estimator, rows), names(("treatment", "outcome"), given, fitted)
        rows.check(*(roles[role] for role in ("treatment", "outcome") if given[role] is not None))
        has = {role: column in rows.columns for role, column in roles.items()}
        arms = rows.treatments(roles["treatment"], treated or fitted.get("treated")) if has["treatment"] else None
        y = rows.numbers(roles["outcome"]) if has["outcome"] else None
    else:
        assert system is not None
        room_of(system, only="ite")
        parameters = settings(parameter)
        estimator = make("ite", system, parameters, seed=seed, device=device, progress=progress)
        rows = read_table(table)
        x, y, arms = training_units(rows, {**given, "parameters": dict(parameters)})
        estimator.fit(x, y, treatment=arms, **limits(estimator, max_minutes))
    if arms is None or y is None:
        if refute or html is not None:
            raise ValueError(f"--refute and --html need the treatment and the outcome of the units; {table} lacks one")
        say(f"average effect: {estimator.ate(x, level=level)}")
        if arms is not None:
            say(f"average effect on the treated: {estimator.att(x, arms, level=level)}")
    else:
        _summarise(estimator, x, y, arms, level=level, refute=refute, html=html, seed=seed, title=f"{table}")
    if out is not None:
        unit = {} if identifier is None else {identifier: rows.column(identifier)}
        deliver(ctx, {**unit, **_effects(estimator, x, level)}, out)


def _summarise(
    estimator: Any, x: Any, y: Any, arms: Any, *, level: float, refute: bool, html: Path | None, seed: int, title: str
) -> None:
    from wbm_ext import ite

    found = ite.summarise(estimator, x, y, treatment=arms, level=level, random_state=seed)
    say(str(found))
    more: list[Any] = []
    if refute:
        more += ite.refute(
            estimator, x, y, treatment=arms, random_state=seed, between=lambda text: note(f"refit: {text}")
        )
        more.append(ite.sensitivity(estimator, x, y, treatment=arms))
        say("")
        for item in more:
            say(str(item))
    if html is not None:
        write_page(html, f"Effect of the treatment: {title}", found, more)
        say(f"wrote {html}")


def _effects(estimator: Any, x: Any, level: float) -> dict[str, Any]:
    columns = {"effect": estimator.effect(x)}
    try:
        columns["lower"], columns["upper"] = estimator.effect_interval(x, level=level)
    except ValueError as error:
        note(f"no intervals of single units: {error} (-p n_bootstrap=200)")
    return columns
