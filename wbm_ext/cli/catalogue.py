"""``wbm systems`` and ``wbm data``: what there is to fit, and to fit it to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wbm_ext.cli import options
from wbm_ext.cli.outcome import command, fail, say

data = typer.Typer(help="Data sets: list, fetch and check their files.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the data set; see 'wbm data list'.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the files; default: $WBM_DATA/<name>, then the cache.")]


@command
def systems(as_json: options.Json = False) -> None:
    """List the systems that 'wbm fit' and 'wbm effect' know."""
    rows = _systems()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for kind in ("ratings", "treatments"):
        table = Table(title=f"systems for {kind}", title_justify="left")
        table.add_column("system", no_wrap=True)
        table.add_column("what it is")
        table.add_column("file", no_wrap=True)
        for row in rows:
            if row["kind"] == kind:
                table.add_row(row["name"], escape(row["summary"].replace("``", "")), "yes" if row["file"] else "no")
        Console().print(table)
    say("file: whether 'wbm fit' can save it; the others estimate in one go, 'wbm effect TABLE --system NAME'")


def _systems() -> list[dict[str, Any]]:
    from wbm_ext import ite, recommender

    rows = [
        {"name": name, "kind": "ratings", "summary": about.summary, "reference": about.reference, "file": True}
        for name, about in ((name, recommender.describe(name)) for name in recommender.systems())
    ]
    for name in ite.systems():
        system = type(ite.create(name))
        summary = (system.__doc__ or "").strip().partition("\n")[0]
        rows.append({"name": name, "kind": "treatments", "summary": summary, "file": hasattr(system, "save")})
    return rows


@data.command("list")
@command
def list_(as_json: options.Json = False) -> None:
    """List the data sets: kind, licence, and whether their files can be fetched."""
    from wbm_ext.datasets.registry import ENTRIES

    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "summary": entry.summary,
            "licence": entry.licence,
            "files": "generated" if entry.generated else "fetch" if entry.fetchable else "from the source page",
        }
        for entry in ENTRIES.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table()
    for head in ("name", "kind", "summary", "files"):
        table.add_column(head, no_wrap=head == "name")
    for row in rows:
        table.add_row(*(escape(row[head]) for head in ("name", "kind", "summary", "files")))
    Console().print(table)
    say("terms, files and hashes of one: wbm data show NAME")


@data.command()
@command
def show(name: Name) -> None:
    """Tell what a data set is, its terms, its files and where they come from."""
    from wbm_ext import datasets

    say(datasets.describe(name))


@data.command()
@command
def fetch(
    name: Name,
    root: Root = None,
    mirror: Annotated[str | None, typer.Option(help="Address of a folder with the same files.")] = None,
    progress: options.Progress = True,
) -> None:
    """Download the files of a data set; each must match its registered SHA-256."""
    from wbm_ext import datasets

    say(f"the files are in {datasets.fetch(name, root, mirror=mirror, progress=progress)}")


@data.command()
@command
def check(name: Name, root: Root = None) -> None:
    """Compare the files of a data set with their registered SHA-256; exit code 1 if one is changed or missing."""
    from wbm_ext import datasets

    states = datasets.check(name, root)
    if not states:
        say(f"{name} is generated: there are no files")
    for state in states:
        say(f"{state.state}: {state.filename}" + ("" if state.path is None else f" ({state.path})"))
    bad = [
        state.filename
        for state in states
        if state.state in ("changed", "damaged") or (state.state == "missing" and state.required)
    ]
    if bad:
        fail(f"{', '.join(bad)}: changed, damaged or missing; see 'wbm data show {name}' for where to get them")
