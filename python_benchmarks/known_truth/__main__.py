"""Does balancing lower the error of estimates and systems where the truth is known?

    python -m python_benchmarks.known_truth [--ratings u.data] [--draws 50] [--jobs 2] [--out FOLDER]

The ratings of MovieLens 100k come from an installed recbole (extra ``movielens``) or from the file given. A command
that was interrupted goes on where it ended.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from pathlib import Path

import numpy as np
import torch

import wbm_ext
from python_benchmarks.known_truth import report, study, world
from wbm_ext.datasets.movielens import load_movielens_100k
from wbm_ext.errors import DatasetError, MissingExtraError


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.known_truth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--ratings", type=Path, default=None, metavar="FILE", help="u.data or ml-100k.inter")
    line.add_argument("--draws", type=int, default=50, help="draws of who is observed, from 0 on (default 50)")
    line.add_argument("--first", type=int, default=0, help="the first draw (default 0)")
    line.add_argument("--selections", nargs="+", default=list(world.SELECTIONS), choices=world.SELECTIONS)
    line.add_argument("--propensities", nargs="+", default=list(world.PROPENSITIES), choices=world.PROPENSITIES)
    line.add_argument("--shape", nargs=2, type=int, default=[400, 700], metavar=("USERS", "ITEMS"))
    line.add_argument("--completion", type=int, default=7, metavar="SEED", help="which users and items (default 7)")
    line.add_argument("--jobs", type=int, default=1)
    line.add_argument("--out", type=Path, default=Path("results/known-truth"), metavar="FOLDER")
    return line


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    line = parser()
    options = line.parse_args(argv)
    for name in ("draws", "jobs"):
        if getattr(options, name) < 1:
            line.error(f"--{name} must be at least 1; got {getattr(options, name)}")
    try:
        ratings = load_movielens_100k(options.ratings)
        for name, size, most in zip(("USERS", "ITEMS"), options.shape, (ratings.n_users, ratings.n_items), strict=True):
            if not 20 <= size <= most:
                line.error(f"--shape: {name} must be from 20 to {most}; got {size}")
        truth = world.complete(ratings, tuple(options.shape), options.completion)
        options.out.mkdir(parents=True, exist_ok=True)
        draws = range(options.first, options.first + options.draws)
        rows = study.conduct(
            truth, tuple(options.selections), draws, tuple(options.propensities), options.out / "runs.jsonl",
            options.jobs,
        )  # fmt: skip
    except (DatasetError, MissingExtraError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    words = ["python -m python_benchmarks.known_truth"]
    for name in ("draws", "first", "selections", "propensities", "shape", "completion"):
        value = getattr(options, name)
        if value != line.get_default(name):
            words.append(f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}")
    head = {
        "benchmark": "known truth",
        "command": " ".join(words),
        "date": str(datetime.date.today()),
        "draws": options.draws,
        "shape": options.shape,
        "completion": options.completion,
        "versions": {"wbm_ext": wbm_ext.__version__, "torch": torch.__version__, "numpy": np.__version__}
        | {"python": platform.python_version()},
    }
    files = report.write(rows, options.out, head)
    print("wrote", ", ".join(str(file) for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
