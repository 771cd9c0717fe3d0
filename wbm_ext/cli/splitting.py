"""``wbm split``: ratings into a part to fit and a part to evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbm_ext.cli import options
from wbm_ext.cli.files import check_files, write_frame
from wbm_ext.cli.outcome import command, say


@command
def split(
    ctx: typer.Context,
    table: options.Table,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for train and test; made if it is not there.")
    ] = Path(),
    ratio: Annotated[
        float | None, typer.Option(help="Share of the rows for test, at random.", show_default="0.2")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times: the latest rows are for test, as many as --ratio says.")
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="One row of each user for test: the latest by --time, else at random."),
    ] = False,
    user: options.User = None,
    end: Annotated[str, typer.Option("--format", help="csv, tsv or parquet.")] = "csv",
    seed: options.Seed = 0,
    config: options.Config = None,
) -> None:
    """Split a table of ratings into train and test: at random, by time, or one row a user.

    wbm split ratings.csv --ratio 0.2 --out parts

    wbm split ratings.csv --leave-one-out --time timestamp --user userId --out parts
    """
    from wbm_ext.datasets.splitting import split_rows
    from wbm_ext.datasets.text import read_table
    from wbm_ext.errors import check_name, require_extra

    check_name("--format", end, ("csv", "tsv", "parquet"))
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder; got the file {out}")
    if leave_one_out and ratio is not None:
        raise ValueError("give either --ratio or --leave-one-out, not both")
    rows = read_table(table)
    test = split_rows(
        len(rows),
        ratio=None if leave_one_out else 0.2 if ratio is None else ratio,
        users=rows.labels(user or "user") if leave_one_out else None,
        times=None if time is None else rows.times(time),
        random_state=seed,
    )
    pandas = require_extra("pandas", "data", "writing tables")
    paths = {True: out / f"test.{end}", False: out / f"train.{end}"}
    out.mkdir(parents=True, exist_ok=True)
    check_files({"the table train": paths[False], "the table test": paths[True]}, {"the table": table})
    for which, path in sorted(paths.items()):
        frame = pandas.DataFrame({name: column[test == which] for name, column in rows.columns.items()})
        write_frame(frame, path)
        say(f"wrote {len(frame)} rows to {path}")
