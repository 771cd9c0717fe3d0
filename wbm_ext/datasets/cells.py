"""Cells of a table: what is a number, what is a label, what is missing. One rule for text, Parquet and DataFrames."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None")
)  # the words of R, pandas, SQL and spreadsheets; in a column of labels only the empty cell is missing
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"0|[1-9]\d*", re.ASCII)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}([T ].*)?", re.ASCII)
_TRUTH = {"true": 1.0, "false": 0.0}


def parse_number(cell: object) -> float | None:
    """Return the number that a cell holds, NaN where it is missing, None where it holds something else.

    Text of a number is a number, so are ``True`` and ``False``; infinite numbers and dates are not.

    >>> [parse_number(cell) for cell in ("1.5", " 2e3", "true", "1,5", "?", "NA", 3)]
    [1.5, 2000.0, 1.0, None, None, nan, 3.0]
    """
    if is_missing(cell):
        return math.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text in MISSING:
            return math.nan
        if not _NUMBER.fullmatch(text):
            return _TRUTH.get(text.lower())
        value = float(text)
    else:
        try:
            value = float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
    return value if math.isfinite(value) else None


def parse_numbers(cells: Iterable[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of a column (NaN where missing or bad), and which cells are no numbers."""
    cells = list(cells)
    known = {cell: parse_number(cell) for cell in set(cells)}
    bad = np.fromiter((known[cell] is None for cell in cells), dtype=bool, count=len(cells))
    filled = {cell: math.nan if value is None else value for cell, value in known.items()}
    return np.fromiter((filled[cell] for cell in cells), dtype=np.float64, count=len(cells)), bad


def is_missing(cell: object) -> bool:
    """Return whether a cell holds nothing: None, NaN, pandas' NA and NaT, an empty text."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, str) and not cell):
        return True
    return isinstance(cell, float | np.floating) and math.isnan(cell)


def label_of(cell: object) -> str:
    """Return the text of a label: a whole number without a point, whatever type the table gives it.

    >>> [label_of(cell) for cell in (1, 1.0, "1", 2.5, True, "north")]
    ['1', '1', '1', '2.5', 'True', 'north']
    """
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell.item() if isinstance(cell, np.generic) else cell)


def is_whole(text: str) -> bool:
    """Return whether a text is an integer of at least 0 as it is usually written: no sign, no leading zero."""
    return _WHOLE.fullmatch(text) is not None


def is_date(text: str) -> bool:
    """Return whether a text looks like a date, with or without a time."""
    return _DATE.fullmatch(text) is not None


def mostly_numbers(bad: NDArray[np.bool_], values: NDArray[np.float64]) -> bool:
    """Return whether at least half of the cells that hold something are numbers, and some are not."""
    numbers = int((~np.isnan(values)).sum())
    return bool(bad.any()) and numbers >= int(bad.sum())
