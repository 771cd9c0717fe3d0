"""Users and items known by strings: strings in, ids 0, 1, ... out, and the strings kept to go back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets.text import read_text
from wbm_ext.errors import DatasetError, check_name, require_extra


def as_labels(argument: str, values: Any) -> NDArray[np.str_]:
    """Return ``values`` (strings or integers) as an array of strings, shape (n,).

    Raises
    ------
    TypeError
        Anything else among them; the message holds the first such position.
    ValueError
        Not 1-d; an empty string.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{argument} must be 1-d, shape (n,); got shape {array.shape}")
    if array.size and array.dtype.kind not in "iuUO":
        raise TypeError(f"{argument} must hold strings or integers; got dtype {array.dtype}")
    if array.dtype.kind == "O":
        for place, value in enumerate(array):
            if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
                raise TypeError(f"{argument} must hold strings or integers; got {value!r} at position {place}")
    strings = array.astype(str)
    if (strings == "").any():
        raise ValueError(f"{argument} must not be empty strings; got one at position {int(np.argmax(strings == ''))}")
    return strings


def number(argument: str, strings: NDArray[np.str_], known: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the place of each string in ``known``, which is sorted.

    Raises
    ------
    ValueError
        A string that is not known; the message holds it and its position.
    """
    places = np.minimum(np.searchsorted(known, strings), len(known) - 1)
    bad = known[places] != strings
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{argument} must be among the {len(known)} known ones; got {str(strings[first])!r} at position {first}"
        )
    return places.astype(np.int64)


def has_labels(path: str | os.PathLike[str], user: str, item: str) -> bool:
    """Return whether the first row of a table file holds a user or an item that is no number.

    A file that is missing, empty or of another kind has none: reading it says what is wrong.
    """
    from wbm_ext.datasets.tables import PARQUET, SEPARATORS, kind_of

    path = Path(path).expanduser()
    kind = kind_of(path)
    try:
        if kind in PARQUET:
            parquet = require_extra("pyarrow.parquet", "data", f"reading {path.name}")
            schema = parquet.read_schema(path)
            return any(name in schema.names and _is_text(schema.field(name).type) for name in (user, item))
        if kind not in SEPARATORS:
            return False
        row = read_text(path, SEPARATORS[kind], nrows=1, dtype=str, na_filter=False)
    except (ValueError, OSError):
        return False
    return any(name in row and len(row) and not _is_number(row[name][0]) for name in (user, item))


def _is_text(arrow_type: Any) -> bool:
    return any(word in str(arrow_type) for word in ("string", "dictionary"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() == ""  # an empty cell is no name either
    return True


def read_named(path: Path, names: dict[str, str], separator: str) -> dict[str, Any]:
    """Return the named columns of a text file: user and item as strings, the others as numbers.

    Raises
    ------
    MissingFileError, DatasetError, UnknownNameError
        There is no such file; it cannot be read; a column that it does not have; a number that is none.
    """
    import pandas

    frame = read_text(path, separator, dtype=str, na_filter=False)
    columns = {}
    for role, column in names.items():
        values = frame[check_name(f"{path}: column", column, map(str, frame.columns))]
        if role not in ("user", "item"):
            numbers = pandas.to_numeric(values, errors="coerce")
            bad = numbers.isna().to_numpy()
            if bad.any():
                place = int(np.argmax(bad))
                raise DatasetError(f"{path}: {column} must be a number; got {values[place]!r} in row {place + 1}")
            values = numbers.astype(np.float64)
        columns[role] = values.to_numpy()
    return columns
