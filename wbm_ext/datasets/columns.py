"""Small CSV files as checked columns: every error names file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wbm_ext.errors import DatasetError


def parse_columns(
    content: bytes,
    names: Sequence[str],
    where: object,
    *,
    header: bool,
    rows: int | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Turn comma-separated lines into one float64 array a column.

    Parameters
    ----------
    content : bytes
        Text as returned by :func:`wbm_ext.datasets.files.read`; empty lines are passed over.
    names : sequence of str
        The columns, in order.
    where : object
        Name of the file for error messages.
    header : bool
        The first line holds the names and must hold these.
    rows : int, optional
        Number of lines expected, without the header.
    labels : mapping from str to sequence of str, optional
        Columns of labels; they become the codes 0, 1, ...

    Raises
    ------
    DatasetError
        Another header, another number of lines or of values in a line, an unknown label, a value that is not
        a finite number.
    """
    try:
        text = content.decode("utf-8")
        table = [(number, row) for number, row in _rows(text) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{where} must be comma-separated UTF-8 text; got {error}") from error
    if header:
        if not table or [cell.strip() for cell in table[0][1]] != list(names):
            got = ",".join(table[0][1])[:80] if table else "an empty file"
            raise DatasetError(f"{where} must begin with the header {','.join(names)[:80]}...; got {got}")
        table = table[1:]
    if rows is not None and len(table) != rows:
        raise DatasetError(f"{where} must have {rows} lines of {len(names)} values; got {len(table)} lines")
    for number, row in table:
        if len(row) != len(names):
            raise DatasetError(f"{where} must have {len(names)} values a line; got {len(row)} in line {number}")
    numbers = [number for number, _ in table]
    cells = list(zip(*(row for _, row in table), strict=True)) or [()] * len(names)
    return {
        name: _codes(column, labels[name], name, numbers, where)
        if labels and name in labels
        else _floats(column, name, numbers, where)
        for name, column in zip(names, cells, strict=True)
    }


def _rows(text: str):  # type: ignore[no-untyped-def]
    reader = csv.reader(text.split("\n"), strict=True)
    for row in reader:
        yield reader.line_num, row


def _floats(column: Sequence[str], name: str, numbers: Sequence[int], where: object) -> NDArray[np.float64]:
    try:
        values = np.array(column, dtype=np.float64)
        bad = ~np.isfinite(values)
    except ValueError:
        bad = np.array([not _is_finite(cell) for cell in column])
    if bad.any():
        place = int(np.argmax(bad))
        raise DatasetError(
            f"{where}: each value must be a finite number; got {column[place]!r} at line {numbers[place]}, "
            f"column {name!r}"
        )
    return values


def _is_finite(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _codes(
    column: Sequence[str], labels: Sequence[str], name: str, numbers: Sequence[int], where: object
) -> NDArray[np.float64]:
    code = {label: float(place) for place, label in enumerate(labels)}
    for cell, number in zip(column, numbers, strict=True):
        if cell not in code:
            raise DatasetError(
                f"{where}: each label must be one of {', '.join(labels)}; got {cell!r} at line {number}, "
                f"column {name!r}"
            )
    return np.array([code[cell] for cell in column])
