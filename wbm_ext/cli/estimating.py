"""``wbm effect``: the effect of a treatment on the units of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import fit_options, names, room_of
from wbm_ext.cli.fitting import make
from wbm_ext.cli.outcome import command, note, say
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
    check_table_out(ctx, out, {"the table": table, "--model": model, "--config": config})
    if (model is None) == (system is None):
        raise ValueError("give either --model, a fitted system, or --system, one to fit to the table")
    given = {"treatment": treatment, "treated": treated, "outcome": outcome, "covariates": covariates}
    given |= {"categorical": categorical, "leave_out": leave_out, "id": identifier}
    if model is not None:
        estimator = load(model, device)
        if estimator.room != "ite":
            raise ValueError(f"{model} holds {estimator.name!r}, a recommender: it estimates no effects")
        fitted, rows = fit_options(model), read_table(table)
        x, role = seen_by(estimator, rows), names(("treatment",), given, fitted)["treatment"]
        asked = treatment is not None or role in rows.columns
        arms = rows.treatments(role, treated or fitted.get("treated")) if asked else None
    else:
        assert system is not None
        room_of(system, only="ite")
        parameters = settings(parameter)
        estimator = make("ite", system, parameters, seed=seed, device=device, progress=progress)
        rows = read_table(table)
        x, y, arms = training_units(rows, {**given, "parameters": dict(parameters)})
        estimator.fit(x, y, treatment=arms)
    say(f"average effect: {estimator.ate(x, level=level)}")
    if arms is not None:
        say(f"average effect on the treated: {estimator.att(x, arms, level=level)}")
    if out is not None:
        unit = {} if identifier is None else {identifier: rows.column(identifier)}
        deliver(ctx, {**unit, **_effects(estimator, x, level)}, out)


def _effects(estimator: Any, x: Any, level: float) -> dict[str, Any]:
    columns = {"effect": estimator.effect(x)}
    try:
        columns["lower"], columns["upper"] = estimator.effect_interval(x, level=level)
    except ValueError as error:
        note(f"no intervals: {error}")
    return columns
