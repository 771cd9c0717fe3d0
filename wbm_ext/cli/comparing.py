"""``wbm compare``: recommenders side by side on a rating data set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from wbm_ext.cli import options
from wbm_ext.cli.columns import split
from wbm_ext.cli.files import run_file
from wbm_ext.cli.outcome import command
from wbm_ext.cli.results import write_results
from wbm_ext.cli.runfile import settings, write_run
from wbm_ext.cli.tables import balance_table, metrics_table
from wbm_ext.errors import UnknownNameError, check_name


@command
def compare(
    ctx: typer.Context,
    data: Annotated[str, typer.Option(help="Rating data set; see 'wbm data list'.")] = "synthetic",
    root: Annotated[Path | None, typer.Option(help="Folder with the files of a real data set.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0 .. N - 1, the same for every system.")] = 3,
    systems: Annotated[
        str,
        typer.Option(
            help="Names joined by commas; see 'wbm systems'.",
            show_default="naive,ips,ips-wbm; generated data: naive,constant,multi-ips,ips-v2,ips-wbm,oracle",
        ),
    ] = "",
    epochs: Annotated[int | None, typer.Option(help="Largest number of epochs, if not the default.")] = None,
    parameter: options.Parameter = None,
    k: Annotated[int, typer.Option(help="Length of the lists for NDCG and F1.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/compare"),
    device: options.Device = "cpu",
    progress: options.Progress = True,
    config: options.Config = None,
) -> None:
    """Train recommenders over seeds, print metrics and balance, write JSON and figures."""
    from wbm_ext import datasets
    from wbm_ext.datasets import registry
    from wbm_ext.recommender import comparison

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder; got the file {out}")
    run_file(out / "run.toml", "compare", config)
    ratings = datasets.available("ratings")
    if data in datasets.available("treatments"):
        raise UnknownNameError(f"{data!r} holds treatments and outcomes; compare takes ratings: {', '.join(ratings)}")
    load = partial(datasets.load, check_name("data", data, ratings), root)
    # what is generated is drawn anew for each seed, so that the figures are over data too
    dataset = (lambda seed: load(random_state=seed)) if registry.entry_of(data).generated else load()
    params = {"device": device, **({} if epochs is None else {"epochs": epochs}), **dict(settings(parameter))}
    names = split(systems) or None
    result = comparison.compare(dataset, names=names, seeds=seeds, k=k, params=params, progress=progress)
    _show(result)
    files, drawn = write_results(result, out)
    write_run(ctx, out / "run.toml")
    console = Console()
    if drawn:
        console.print(drawn, markup=False, highlight=False)
    written = ", ".join(file.name for file in [*files, out / "run.toml"])
    console.print(f"{result['seconds']:.0f} s; wrote {written} to {out}", markup=False, highlight=False)


def _show(result: dict[str, Any]) -> None:
    console = Console()
    about, setting = result["data"], result["setting"]
    console.print(
        f"{about['name']}: {about['n_users']} users x {about['n_items']} items, {about['n_train']} training "
        f"and {about['n_test']} test ratings, density {about['density']:.3f}, "
        f"positive from {setting['threshold']:g} up",
        highlight=False,
    )
    console.print(f"licence of the data: {about['licence'] or 'not given'}", markup=False, highlight=False)
    console.print(_validation(setting), highlight=False)
    console.print(metrics_table(result))
    if about["test_pairs_in_train"]:
        console.print(
            f"{about['test_pairs_in_train']} test pairs also stand in train; AUC unseen leaves them out.",
            highlight=False,
        )
    console.print(balance_table(result))
    if result["verdict"]:
        console.print(result["verdict"], highlight=False)


def _validation(setting: dict[str, Any]) -> str:
    if setting["validation"] == "biased":
        return (
            f"validation: biased (log loss on {setting['validation_fraction']:.0%} of the training ratings, "
            "held out at random, chooses the epoch; test pairs are never used)"
        )
    return f"validation: {setting['validation']}"
