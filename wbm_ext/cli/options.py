"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbm_ext.cli.runfile import take_run

Table = Annotated[Path, typer.Argument(help="CSV, TSV (also .gz) or Parquet file with a header.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="Model file that 'wbm fit' has written.")]
Parameter = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", help="name=value of a parameter of the system; repeat for more."),
]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Device = Annotated[str, typer.Option(help="Where to compute, e.g. cpu or cuda:0.")]
Progress = Annotated[bool, typer.Option(help="Show progress bars.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="File for the table: .csv, .tsv or .parquet.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Run file (TOML) with options that the command line leaves out.",
        callback=take_run, is_eager=True,
    ),
]  # fmt: skip

User = Annotated[str | None, typer.Option(help="Column of users: ids 0, 1, ... or names.", show_default="user")]
Item = Annotated[str | None, typer.Option(help="Column of items: ids 0, 1, ... or names.", show_default="item")]
Rating = Annotated[str | None, typer.Option(help="Column of ratings.", show_default="rating")]
Treatment = Annotated[str | None, typer.Option(help="Column of treatments, 0 or 1.", show_default="treatment")]
Outcome = Annotated[str | None, typer.Option(help="Column of outcomes.", show_default="outcome")]
