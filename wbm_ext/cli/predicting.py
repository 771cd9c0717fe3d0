"""``wbm predict`` and ``recommend``: what a fitted system says of pairs, units and users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.columns import fit_options, names, split
from wbm_ext.cli.files import check_files, run_file, write_frame
from wbm_ext.cli.ids import ids_of, known_pairs, names_of, refuse_unknown, unknown
from wbm_ext.cli.outcome import command, note, say
from wbm_ext.cli.runfile import write_run
from wbm_ext.cli.units import seen_by
from wbm_ext.datasets.text import check_kind, read_table
from wbm_ext.errors import require_extra


@command
def predict(
    ctx: typer.Context,
    table: options.Table,
    model: options.Model,
    user: options.User = None,
    item: options.Item = None,
    propensity: Annotated[bool, typer.Option("--propensity", help="Add P(observed) of each pair.")] = False,
    skip_unknown: options.SkipUnknown = False,
    identifier: options.Identifier = None,
    out: options.Out = None,
    device: options.Device = "cpu",
    config: options.Config = None,
) -> None:
    """Predict P(positive) of pairs, or both outcomes of units; CSV on standard output without --out."""
    check_table_out(ctx, out, {"the table": table, "--model": model, "--config": config})
    estimator = load(model, device)
    if estimator.room == "recommender":
        roles = names(("user", "item"), {"user": user, "item": item}, fit_options(model))
        rows = read_table(table, list(roles.values()))
        ids, known = known_pairs(estimator, rows, roles)
        if not skip_unknown:
            refuse_unknown(estimator, rows, roles, ids)
        elif not known.all():
            note(f"{int((~known).sum())} of {len(known)} rows have a user or an item that the model does not know")
        pairs = [ids[role][known] for role in ("user", "item")]
        columns: dict[str, Any] = {name: rows.column(name)[known] for name in roles.values()}
        columns["probability"] = estimator.predict(*pairs)
        if propensity:
            columns["propensity"] = estimator.propensity(*pairs)
    else:
        rows = read_table(table)
        outcomes = estimator.predict_outcomes(seen_by(estimator, rows))
        columns = {} if identifier is None else {identifier: rows.column(identifier)}
        columns |= {"outcome0": outcomes[:, 0], "outcome1": outcomes[:, 1]}
    deliver(ctx, columns, out)


@command
def recommend(
    ctx: typer.Context,
    model: options.Model,
    users: Annotated[str, typer.Option("--users", "-u", help="Users joined by commas, or 'all'.")],
    k: Annotated[int, typer.Option("-k", help="Items for each user.")] = 10,
    rated: Annotated[bool, typer.Option("--rated", help="Also items that the user has rated.")] = False,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Leave out users not known.")] = False,
    out: options.Out = None,
    device: options.Device = "cpu",
    config: options.Config = None,
) -> None:
    """Recommend the best items to users of a fitted recommender; CSV on standard output without --out."""
    check_table_out(ctx, out, {"--model": model, "--config": config})
    estimator = load(model, device)
    if estimator.room != "recommender":
        raise ValueError(f"{model} holds {estimator.name!r}, a treatment-effect system: nothing to recommend")
    columns: dict[str, list[Any]] = {"user": [], "rank": [], "item": [], "probability": []}
    for person in range(estimator.n_users_) if users == "all" else _users(estimator, users, skip=skip_unknown):
        items, scores = estimator.recommend(person, k, exclude=None if rated else "observed")
        columns["user"] += names_of(estimator, "user", [person]) * len(items)
        columns["rank"] += range(1, len(items) + 1)
        columns["item"] += names_of(estimator, "item", items.tolist())
        columns["probability"] += scores.tolist()
    frame = _frame(columns).astype({"probability": "float32"})
    deliver(ctx, {name: frame[name] for name in columns}, out)


def load(path: Path, device: str) -> Any:
    """Return the estimator of a model file, on ``device``."""
    import wbm_ext
    from wbm_ext.parameters import check_device

    check_device(device)
    return wbm_ext.load(path, map_location=device)


def check_table_out(ctx: typer.Context, out: Path | None, inputs: dict[str, Path | None]) -> None:
    """Raise, before any work, unless the table ``out`` and its run file can be written beside the ``inputs``."""
    if out is None:
        return
    check_kind(out)
    model = inputs.get("--model")
    own = run_file(out, str(ctx.info_name), inputs.get("--config"))
    if inputs.get("--config") is not None and inputs["--config"] in own.values():
        inputs = {**inputs, "--config": None}  # a run repeated from its own run file
    check_files(
        {"--out": out, **own},
        {**inputs, "the run file of --model": None if model is None else model.with_suffix(".toml")},
    )


def deliver(ctx: typer.Context, columns: dict[str, Any], out: Path | None) -> None:
    """Print a table as CSV, or write it to ``out`` and its run file beside it."""
    frame = _frame(columns)
    if out is None:
        typer.echo(frame.to_csv(index=False), nl=False)
        return
    write_frame(frame, out)
    write_run(ctx, out.with_suffix(".toml"))
    say(f"wrote {len(frame)} rows to {out}, and {out.with_suffix('.toml')}")


def _users(estimator: Any, text: str, *, skip: bool) -> list[int]:
    words = split(text)
    if not words:
        raise ValueError(f"--users must be users joined by commas, or 'all'; got {text!r}")
    ids = ids_of(estimator, "user", words)
    strange = [word for word, place in zip(words, ids, strict=True) if place < 0]
    if strange and not skip:
        raise ValueError(f"--users: {unknown(estimator, 'user', strange[0])}; --skip-unknown leaves such users out")
    if strange:
        note(f"{len(strange)} of {len(words)} users are not known to the model: {', '.join(strange[:5])}")
    return [int(place) for place in ids if place >= 0]


def _frame(columns: dict[str, Any]) -> Any:
    return require_extra("pandas", "data", "a table as the result").DataFrame(columns)
