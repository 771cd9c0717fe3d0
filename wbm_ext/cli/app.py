"""The commands ``compare`` and ``info``."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    name="wbm_ext",
    help="Debiased recommenders by optimal transport: compare systems, report the environment.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn wrong usage and unusable data into one sentence and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from error


@app.command()
def compare(
    data: Annotated[str, typer.Option(help="Data set: synthetic or coat.")] = "synthetic",
    root: Annotated[Path | None, typer.Option(help="Folder with the files of a real data set.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0 .. N - 1, the same for every system.")] = 3,
    systems: Annotated[str, typer.Option(help="Names joined by commas; empty: naive,ips,ips-wbm.")] = "",
    epochs: Annotated[int | None, typer.Option(help="Largest number of epochs, if not the default.")] = None,
    k: Annotated[int, typer.Option(help="Length of the lists for NDCG and F1.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/compare"),
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Train systems over seeds, print metrics and balance, write JSON and figures."""
    with _one_sentence():
        from wbm_ext.datasets import load
        from wbm_ext.recommender import comparison

        if out.exists() and not out.is_dir():
            raise ValueError(f"--out must be a folder; got the file {out}")
        dataset = load(data, root)
        names = [name.strip() for name in systems.split(",") if name.strip()] or None
        params = {} if epochs is None else {"epochs": epochs}
        result = comparison.compare(dataset, names=names, seeds=seeds, k=k, params=params, progress=progress)
        _show(result, out)


def _show(result: dict[str, Any], out: Path) -> None:
    from wbm_ext.cli.results import write_results
    from wbm_ext.cli.tables import balance_table, metrics_table

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
    files, note = write_results(result, out)
    if note:
        console.print(note, markup=False, highlight=False)
    names = ", ".join(file.name for file in files)
    console.print(f"{result['seconds']:.0f} s; wrote {names} to {out}", markup=False, highlight=False)


def _validation(setting: dict[str, Any]) -> str:
    if setting["validation"] == "biased":
        return (
            f"validation: biased (log loss on {setting['validation_fraction']:.0%} of the training ratings, "
            "held out at random, chooses the epoch; test pairs are never used)"
        )
    return f"validation: {setting['validation']}"


@app.command()
def info() -> None:
    """Report versions, how the compiled module was built, and devices."""
    with _one_sentence():
        import torch

        import wbm_ext

        lines: dict[str, Any] = {**wbm_ext.build_info(), "system": f"{platform.system()} {platform.machine()}"}
        count = torch.cuda.device_count()
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
        lines["devices"] = f"cpu, {names}" if names else "cpu"
        for key, value in lines.items():
            Console(soft_wrap=True).print(f"{key}: {value}", markup=False, highlight=False)
