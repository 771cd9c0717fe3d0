"""What the command lines of all studies share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import wbm_ext
from python_benchmarks._study.engines import ENGINES


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
