"""What the command lines of all studies share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import wbm_ext
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.engines import ENGINES
from python_benchmarks._study.ledger import Ledger
from python_benchmarks._study.run import Outcome, conduct
from wbm_ext.errors import DatasetError, MissingExtraError, UnknownNameError


def common(line: argparse.ArgumentParser, *, seeds: int, out: str) -> None:
    """Add the options that all studies have."""
    line.add_argument("--seeds", type=int, default=seeds, help=f"reported seeds, 0 to n - 1 (default {seeds})")
    line.add_argument("--jobs", type=int, default=1, help="runs side by side; the cores are shared among them")
    line.add_argument("--engine", default="loky", metavar="NAME", help=f"of joblib: {', '.join(ENGINES)}")
    line.add_argument("--budget", type=float, default=None, metavar="HOURS", help="cut what takes longer, and name it")
    line.add_argument("--dry-run", action="store_true", help="time a run a system, print the estimate, and end")
    line.add_argument("--out", type=Path, default=Path(out), metavar="FOLDER")
    line.add_argument("--epochs", type=int, default=None, help="largest number of epochs (default: the systems')")
    line.add_argument("--no-progress", action="store_true")


def command(line: argparse.ArgumentParser, options: argparse.Namespace, *words: str) -> str:
    """Return the command as it stands in reports: options that differ from their defaults, without the folder."""
    text = ["python -m", *words]
    for name, value in vars(options).items():
        if value == line.get_default(name) or name in ("out", "no_progress", "jobs", "engine"):
            continue
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            text.append(flag if one is True else f"{flag} {one}")
    return " ".join(text)


def context() -> dict[str, Any]:
    """What results depend on beside the cell."""
    return {"wbm_ext": wbm_ext.__version__, "torch": torch.__version__}


def exit_code(run: Callable[[], int]) -> int:
    """Run a command; what a user can mend, and an interrupt, are one line on standard error and a code of their own."""
    try:
        return run()
    except (DatasetError, MissingExtraError, UnknownNameError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def conduct_map(
    options: argparse.Namespace,
    cells: Sequence[Cell],
    evaluate: Callable[[Cell], dict[str, Any]],
    write: Callable[[Ledger, Outcome], list[Path]],
) -> int:
    """Run the cells of a map as the :func:`common` options say, and write its files; return the exit code."""
    with Ledger(options.out / "runs.jsonl", context()) as ledger:
        outcome = conduct(
            cells, evaluate, ledger, jobs=options.jobs, engine_name=options.engine,
            budget=options.budget, progress=not options.no_progress, dry=options.dry_run,
        )  # fmt: skip
        if options.dry_run:
            return 0
        files = write(ledger, outcome)
    print("wrote", ", ".join(str(file) for file in files))
    return 1 if outcome.failed or outcome.interrupted else 0
