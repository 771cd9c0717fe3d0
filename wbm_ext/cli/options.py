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
MaxMinutes = Annotated[
    float | None, typer.Option(help="End the training before so many minutes are over, with the best epoch so far.")
]
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
Observed = Annotated[str | None, typer.Option(help="Column of 0/1; rows with 0 are no ratings.")]
Duplicates = Annotated[
    str | None, typer.Option(help="Repeated pairs: error, first, last, mean or max.", show_default="error")
]
SkipUnknown = Annotated[
    bool, typer.Option("--skip-unknown", help="Leave out rows whose user or item the model does not know.")
]
Treatment = Annotated[
    str | None, typer.Option(help="Column of treatments, two values such as 0/1 or no/yes.", show_default="treatment")
]
Treated = Annotated[
    str | None, typer.Option(help="The value of a treated unit.", show_default="1, yes, true, treated, ...")
]
Covariates = Annotated[
    str | None, typer.Option("--covariates", help="Columns joined by commas.", show_default="all others")
]
Categorical = Annotated[
    str | None, typer.Option(help="Covariates that are labels though they look like numbers, joined by commas.")
]
LeaveOut = Annotated[str | None, typer.Option(help="Columns that are no covariates, joined by commas.")]
Identifier = Annotated[str | None, typer.Option("--id", help="Column that names the units; no covariate.")]
Outcome = Annotated[str | None, typer.Option(help="Column of outcomes.", show_default="outcome")]
