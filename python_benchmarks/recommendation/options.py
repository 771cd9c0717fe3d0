"""What both command lines of this folder share."""

from __future__ import annotations

import argparse
from typing import Any

from python_benchmarks._study.options import common as shared


def common(line: argparse.ArgumentParser, *, seeds: int, out: str) -> None:
    """Add the options that both commands of this folder have."""
    shared(line, seeds=seeds, out=out)
    line.add_argument("--users", type=int, default=200, help="of generated data")
    line.add_argument("--items", type=int, default=300, help="of generated data")


def generated(options: argparse.Namespace) -> dict[str, Any]:
    """Size of generated data."""
    return {"n_users": options.users, "n_items": options.items}
