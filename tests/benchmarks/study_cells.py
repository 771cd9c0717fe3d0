"""Cells with known answers for the tests of the study machinery: importable in worker processes."""

from __future__ import annotations

import os
import time
from typing import Any

from python_benchmarks._study import Cell


def evaluate(cell: Cell) -> dict[str, Any]:
    """A value by formula; a line in the file that ``trace`` names tells that it was really evaluated."""
    if trace := cell.data_params.get("trace"):
        with open(trace, "a") as file:
            file.write(f"{cell.system} {cell.seed}\n")
    if cell.system == "broken":
        raise ArithmeticError("this system cannot be fitted")
    if cell.data_params.get("die_at") == cell.seed and not os.path.exists(f"{trace}.died"):
        open(f"{trace}.died", "w").close()
        os.kill(os.getpid(), 9)
    time.sleep(cell.params.get("sleep", 0))
    x, y = cell.params.get("x", 0.0), cell.params.get("y", 0.0)
    if cell.purpose == "search":
        return {"validation": (x - 3) ** 2 + (y - 0.5) ** 2 + 0.01 * (cell.seed % 2)}
    level = {"good": 0.7, "bad": 0.6}.get(cell.system, 0.5)
    return {"metrics": {"auc": level + 0.01 * cell.seed, "undefined": float("nan")}, "validation": 1.0}


def interrupted(cell: Cell) -> dict[str, Any]:
    """Ctrl-C at the third seed."""
    if cell.seed == 2:
        raise KeyboardInterrupt
    return evaluate(cell)


def leaking(cell: Cell) -> dict[str, Any]:
    """Gives metrics in a search, which is refused."""
    return {"metrics": {"auc": 1.0}, "validation": 0.0}
