"""``wbm data export``: a data set as the tables that 'wbm fit' and 'wbm evaluate' read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wbm_ext.cli.files import check_files, write_frame
from wbm_ext.cli.outcome import command, say
from wbm_ext.errors import check_name, require_extra


@command
def export(
    name: Annotated[str, typer.Argument(help="Name of the data set; see 'wbm data list'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables; made if it is not there.")] = Path(),
    root: Annotated[Path | None, typer.Option(help="Folder of the files of a real data set.")] = None,
    end: Annotated[str, typer.Option("--format", help="csv, tsv or parquet.")] = "csv",
) -> None:
    """Write a data set as tables: train and test with user, item, rating; or units with covariates, treatment, outcome.

    Units also have the expected outcomes mu0 and mu1 where the data set knows them: leave them out of a fit.
    """
    from wbm_ext import datasets

    check_name("--format", end, ("csv", "tsv", "parquet"))
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder; got the file {out}")
    pandas = require_extra("pandas", "data", "writing tables")
    data = datasets.load(name, root)
    tables = _ratings(data, pandas) if isinstance(data, datasets.RatingsDataset) else _units(data)
    out.mkdir(parents=True, exist_ok=True)
    inputs = {} if root is None else {f"the file of --root {path.name}": path for path in root.iterdir()}
    check_files({f"the table of {stem}": out / f"{stem}.{end}" for stem in tables}, inputs)
    for stem, frame in tables.items():
        path = out / f"{stem}.{end}"
        write_frame(frame, path)
        say(f"wrote {len(frame)} rows to {path}: {', '.join(frame.columns)}")


def _ratings(data: Any, pandas: Any) -> dict[str, Any]:
    parts = {"train": data.train, "test": data.test}
    return {
        stem: pandas.DataFrame({"user": part.users, "item": part.items, "rating": part.ratings})
        for stem, part in parts.items()
    }


def _units(data: Any) -> dict[str, Any]:
    frame = data.frame().assign(treatment=data.treatment, outcome=data.y)
    if data.mu0 is not None:
        frame = frame.assign(mu0=data.mu0, mu1=data.mu1)
    return {"units": frame}
