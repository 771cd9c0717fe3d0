"""``wbm fit``: train a system on a user's table and write the model file."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options, units
from wbm_ext.cli.columns import names, refuse_foreign, room_of
from wbm_ext.cli.frames import read_frame, take
from wbm_ext.cli.outcome import command, note, say
from wbm_ext.cli.runfile import settings, write_run
from wbm_ext.errors import DatasetError


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
    observed: Annotated[str | None, typer.Option(help="Column of 0/1; rows with 0 are no ratings.")] = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Users and items are names, not ids 0, 1, ...",
            show_default="if the first row has one",
        ),
    ] = None,
    duplicates: Annotated[str, typer.Option(help="Repeated pairs: error, first, last, mean or max.")] = "error",
    treatment: options.Treatment = None,
    outcome: options.Outcome = None,
    covariates: Annotated[
        str | None, typer.Option("--covariates", help="Columns joined by commas.", show_default="all others")
    ] = None,
    leave_out: Annotated[str | None, typer.Option(help="Columns that are no covariates, joined by commas.")] = None,
    parameter: options.Parameter = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    checkpoint: Annotated[Path | None, typer.Option(help="File that holds the run after every epoch.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from --checkpoint if it is there.")] = False,
    log: Annotated[Path | None, typer.Option(help="File of JSON lines, one an epoch.")] = None,
    progress: options.Progress = True,
    config: options.Config = None,
) -> None:
    """Fit a recommender or a treatment-effect system to a table and save it.

    wbm fit ratings.csv --system ips-wbm --user u --item i --rating r --out model.pt

    wbm fit units.csv --system escfr --treatment t --outcome y --out model.pt
    """
    room = room_of(system)
    given = {"user": user, "item": item, "rating": rating, "observed": observed, "treatment": treatment}
    given |= {"outcome": outcome, "covariates": covariates, "leave_out": leave_out}
    refuse_foreign(system, room, given)
    model = make(room, system, settings(parameter), seed=seed, device=device, progress=progress)
    if not hasattr(model, "save"):
        raise ValueError(
            f"system {system!r} has no model file; estimate in one go: wbm effect {table} --system {system}"
        )
    if not out.parent.is_dir() or out.is_dir():
        raise OSError(f"--out must be a file in a folder that exists; got {out}")
    from wbm_ext.training import distributed

    files = {"checkpoint": checkpoint, "resume": resume, "log": log}
    start = time.perf_counter()
    if room == "recommender":
        data = training_ratings(table, given, duplicates, labels)
        model.fit(data, **files)
        about = f"{len(data)} ratings of {data.n_users} users and {data.n_items} items, density {data.density:.3g}"
    else:
        x, y, treated = training_units(table, given)
        model.fit(x, y, treatment=treated, **files)
        about = f"{len(x)} units, {int(model.n_features_in_)} covariates; mean effect on them {model.ate(x)}"
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


def training_ratings(table: Path, given: dict[str, str | None], duplicates: str, labels: bool | None) -> Any:
    """Return the Ratings of a table; where the first row holds names, users and items are numbered."""
    from wbm_ext.datasets import read_ratings
    from wbm_ext.datasets.labels import has_labels

    roles = names(("user", "item", "rating"), given)
    if labels is None:
        labels = has_labels(table, roles["user"], roles["item"])
    try:
        return read_ratings(table, **roles, observed=given["observed"], duplicates=duplicates, labels=labels)
    except DatasetError as error:
        if labels or "must be an id" not in str(error):
            raise
        raise DatasetError(f"{error}; if users and items are names, say --labels") from error


def training_units(table: Path, given: dict[str, str | None]) -> tuple[Any, Any, Any]:
    """Return covariates (DataFrame), outcomes and treatments of a table."""
    frame = read_frame(table)
    roles = names(("treatment", "outcome"), given)
    take(frame, roles.values(), table)
    x = units.covariates(frame, table, roles, given.get("covariates"), given.get("leave_out"))
    return x, frame[roles["outcome"]], frame[roles["treatment"]]
