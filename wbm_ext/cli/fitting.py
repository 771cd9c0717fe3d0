"""``wbm fit``: train a system on a user's table and write the model file."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import names, refuse_foreign, room_of
from wbm_ext.cli.files import check_files, run_file, staged
from wbm_ext.cli.outcome import command, note, say
from wbm_ext.cli.runfile import settings, write_run
from wbm_ext.cli.units import training_units


@command
def fit(
    ctx: typer.Context,
    table: options.Table,
    system: Annotated[str, typer.Option("--system", "-s", help="What to fit; see 'wbm systems'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model file to write; its run file stands beside.")] = Path(
        "model.pt"
    ),
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    observed: options.Observed = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Users and items are names, not ids 0, 1, ...",
            show_default="unless they are the ids 0, 1, ...",
        ),
    ] = None,
    duplicates: options.Duplicates = None,
    treatment: options.Treatment = None,
    treated: options.Treated = None,
    outcome: options.Outcome = None,
    covariates: options.Covariates = None,
    categorical: options.Categorical = None,
    leave_out: options.LeaveOut = None,
    parameter: options.Parameter = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    checkpoint: Annotated[Path | None, typer.Option(help="File that holds the run after every epoch.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from --checkpoint if it is there.")] = False,
    log: Annotated[Path | None, typer.Option(help="File of JSON lines, one an epoch.")] = None,
    max_minutes: options.MaxMinutes = None,
    progress: options.Progress = True,
    config: options.Config = None,
) -> None:
    """Fit a recommender or a treatment-effect system to a table and save it.

    wbm fit ratings.csv --system ips-wbm --user u --item i --rating r --out model.pt

    wbm fit units.csv --system escfr --treatment t --outcome y --out model.pt
    """
    room = room_of(system)
    given = {"user": user, "item": item, "rating": rating, "observed": observed, "treatment": treatment}
    given |= {"treated": treated, "outcome": outcome, "covariates": covariates, "categorical": categorical}
    given |= {"leave_out": leave_out}
    refuse_foreign(system, room, given)
    parameters = settings(parameter)
    model = make(room, system, parameters, seed=seed, device=device, progress=progress)
    if not hasattr(model, "save"):
        raise ValueError(
            f"system {system!r} has no model file; estimate in one go: wbm effect {table} --system {system}"
        )
    check_files(
        {
            **{"--out": out, **run_file(out, "fit", config), "--checkpoint": checkpoint, "--log": log},
            **staged("--checkpoint", checkpoint),
            **staged("--log", log),
        },
        {"the table": table, **({} if config is None or _is_run_file(out, config) else {"--config": config})},
    )
    from wbm_ext.cli.limits import limits
    from wbm_ext.datasets.text import read_table
    from wbm_ext.training import distributed

    files = {**limits(model, max_minutes), "checkpoint": checkpoint, "resume": resume, "log": log}
    start = time.perf_counter()
    if room == "recommender":
        data = _training_ratings(table, given, duplicates or "error", "auto" if labels is None else labels)
        model.fit(data, **files)
        about = f"{len(data)} ratings of {data.n_users} users and {data.n_items} items, density {data.density:.3g}"
    else:
        units = training_units(read_table(table), {**given, "parameters": dict(parameters)})
        model.fit(units.x, units.y, treatment=units.treatment, **files)
        about = (
            f"{len(units.x)} units, {int(model.n_features_in_)} covariates; mean effect on them {model.ate(units.x)}"
        )
    if not distributed.is_first():  # under torchrun all processes hold the same model
        return
    model.save(out)
    write_run(ctx, out.with_suffix(".toml"))
    history = model.history_
    say(f"{system}: {about}")
    say(f"kept epoch {history.best_epoch} of {len(history.records)}; {time.perf_counter() - start:.1f} s")
    say(f"wrote {out} and {out.with_suffix('.toml')}")


def make(room: str, system: str, parameters: list[tuple[str, Any]], **common: Any) -> Any:
    """Return an unfitted system with its parameters, and of seed, device and progress those that it has."""
    import wbm_ext

    kind = getattr(wbm_ext, room)
    known = inspect.signature(type(kind.create(system))).parameters
    shared = {"random_state": common["seed"], "device": common["device"], "progress": common["progress"]}
    if "device" not in known and common["device"] != "cpu":
        note(f"{system} computes on the CPU; --device {common['device']} is not used")
    return kind.create(system, **{name: value for name, value in shared.items() if name in known} | dict(parameters))


def _training_ratings(table: Path, given: dict[str, Any], duplicates: str, labels: bool | str) -> Any:
    """Return the Ratings of a table, and say where users and items were taken for names."""
    from wbm_ext.datasets import read_ratings

    roles = names(("user", "item", "rating"), given)
    data = read_ratings(
        table,
        **roles,
        observed=given["observed"],
        duplicates=duplicates,
        labels=labels,  # type: ignore[arg-type]
    )
    if labels == "auto" and data.user_labels is not None:
        note(
            f"{table}: the {data.n_users} users and {data.n_items} items are names, not the ids 0, 1, ...; "
            "--no-labels says otherwise"
        )
    return data


def _is_run_file(out: Path, config: Path) -> bool:
    return config.exists() and out.with_suffix(".toml").exists() and config.samefile(out.with_suffix(".toml"))
