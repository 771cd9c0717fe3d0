"""A user's own ratings: a DataFrame, a CSV or a Parquet file of (user, item, rating[, observed])."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_ids, as_vector, check_same_length, on_host, reject
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.cells import is_missing, is_whole, label_of
from wbm_ext.datasets.duplicates import RULES, merge
from wbm_ext.datasets.labels import as_labels
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.datasets.text import Table, read_table
from wbm_ext.errors import DatasetError, DataWarning, check_name, warn_once

UNKNOWN = ("error", "skip")
_MEMORY = Path("source")  # what messages call a table that is no file
_SPARE = 20  # ids that may be missing, beside as many as there are, before a numbering counts as one with gaps


def read_ratings(
    source: Any,
    *,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    observed: str | None = None,
    n_users: int | None = None,
    n_items: int | None = None,
    scale: tuple[float, float] | None = None,
    duplicates: Literal["error", "first", "last", "mean", "max"] = "error",
    labels: bool | Literal["auto"] | Ratings = False,
    unknown: Literal["error", "skip"] = "error",
) -> Ratings:
    """Read ratings from a table with a column each for user, item and rating.

    Parameters
    ----------
    source : DataFrame, mapping of columns, or path
        A file ends in ``.csv`` (comma), ``.tsv`` or ``.txt`` (tab), each with a header and also as ``.gz``, or in
        ``.parquet``.
    user, item, rating : str
        Names of the columns. Ids are integers from 0, unless ``labels`` says otherwise.
    observed : str, optional
        Column of 0/1; rows with 0 are left out, whatever their rating.
    n_users, n_items, scale
        As for :class:`Ratings`; with ``labels`` the first two follow from these.
    duplicates : {"error", "first", "last", "mean", "max"}
        Which rating a repeated pair keeps; ``"error"`` refuses it.
    labels : bool, "auto" or Ratings
        True: users and items are names (strings, or any integers taken as such). They are numbered in sorted order, and
        kept as ``user_labels`` and ``item_labels``. "auto": the same, unless both columns hold the integers from 0 up
        with few of them missing. A Ratings that has labels: those alone may occur, under its ids.
    unknown : {"error", "skip"}
        Rows whose user or item is not among ``labels``, or not below ``n_users`` and ``n_items``: refuse them, or leave
        them out and say how many in a warning.

    Raises
    ------
    MissingFileError
        There is no such file.
    DatasetError
        A file that cannot be read, or with values that cannot be; the message names the file and the line (of Parquet:
        the row).
    UnknownNameError
        A column that the table does not have, a rule that does not exist.
    TypeError, ValueError
        As for :class:`Ratings`.

    Warns
    -----
    DataWarning
        Ids that leave great gaps; rows that were skipped.
    """
    check_name("duplicates", duplicates, RULES)
    check_name("unknown", unknown, UNKNOWN)
    if isinstance(labels, str):
        check_name("labels", labels, ("auto",))
    names = {"user": user, "item": item, "rating": rating}
    if observed is not None:
        names["observed"] = observed
    if len(set(names.values())) < len(names):
        raise ValueError(f"user, item, rating and observed must name different columns; got {list(names.values())}")
    if isinstance(labels, Ratings) and (labels.user_labels is None or labels.item_labels is None):
        raise ValueError(
            "labels must be True, False, 'auto' or a Ratings with user_labels and item_labels; got one without"
        )
    if labels is not False and not (n_users is n_items is None):
        raise ValueError("n_users and n_items must be left out with labels, which tell them")
    if isinstance(source, (str, os.PathLike)):
        table = read_table(Path(source).expanduser(), list(names.values()))
    else:
        table = _in_memory(source, names)
    try:
        return _ratings(table, names, (n_users, n_items), scale, duplicates, labels, unknown)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{table.path}: {error}") from error


def read_dataset(train: Any, test: Any, *, name: str = "own", threshold: float = 3.0, **options: Any) -> RatingsDataset:
    """Read biased training ratings and unbiased test ratings over the same users and items.

    Parameters
    ----------
    train, test : DataFrame, mapping of columns, or path
        As ``source`` of :func:`read_ratings`.
    name : str
    threshold : float
        A rating of at least this counts as positive.
    **options
        The other arguments of :func:`read_ratings`, for both tables. ``n_users`` and ``n_items`` left out: the
        largest id of either table plus one. With ``labels="auto"`` both are read as names if one of them is.

    Raises
    ------
    MissingFileError, DatasetError, UnknownNameError, TypeError, ValueError
        As for :func:`read_ratings`.
    """
    parts = [read_ratings(source, **options) for source in (train, test)]
    if options.get("labels") == "auto" and len({part.user_labels is None for part in parts}) == 2:
        options["labels"] = True
        parts = [read_ratings(source, **options) for source in (train, test)]
    if all(part.user_labels is not None for part in parts):
        parts = together(*parts)
    n_users, n_items = (max(getattr(part, count) or 0 for part in parts) for count in ("n_users", "n_items"))
    first, second = (replace(part, n_users=n_users, n_items=n_items) for part in parts)
    return RatingsDataset(name=name, train=first, test=second, threshold=threshold)


def together(*parts: Ratings) -> list[Ratings]:
    """Return labelled ratings over the users and items of all of them."""
    users, items = (
        np.unique(np.concatenate([getattr(part, name) for part in parts])) for name in ("user_labels", "item_labels")
    )
    return [
        Ratings(
            np.searchsorted(users, part.user_labels)[part.users],
            np.searchsorted(items, part.item_labels)[part.items],
            part.ratings,
            *(len(users), len(items), part.scale, users, items),
        )
        for part in parts
    ]


def _in_memory(source: Any, names: dict[str, str]) -> Table:
    if not hasattr(source, "keys"):
        raise TypeError(f"source must be a DataFrame, a mapping of columns or a path; got {type(source).__name__}")
    present = list(source.columns if hasattr(source, "columns") else source.keys())
    for role, column in names.items():
        if column not in present:
            check_name(f"column {role}", column, map(str, present))
    # a pandas column of strings or categories becomes the values that it stands for
    columns = {column: np.asarray(on_host(source[column])) for column in names.values()}
    return Table(_MEMORY, columns)


def _ratings(
    table: Table,
    names: dict[str, str],
    sizes: tuple[int | None, int | None],
    scale: tuple[float, float] | None,
    duplicates: str,
    labels: bool | str | Ratings,
    unknown: str,
) -> Ratings:
    columns = {role: table.column(column) for role, column in names.items()}
    values = _numbers(table, names["rating"], "ratings", missing="observed" in names)
    check_same_length(users=columns["user"], items=columns["item"], ratings=values)
    if labels == "auto":
        labels = not all(_counted_from_zero(table, columns[role]) for role in ("user", "item"))
    given = {
        role: labels if isinstance(labels, bool) else getattr(labels, f"{role}_labels") for role in ("user", "item")
    }
    ids, known, strange = {}, {}, np.zeros(len(values), dtype=bool)
    for role, size in zip(("user", "item"), sizes, strict=True):
        ids[role], known[role], out = _ids(table, names[role], f"{role}s", given[role], size, unknown)
        strange |= out
    if strange.any():
        warn_once(
            DataWarning(
                f"{table.path}: {int(strange.sum())} of {len(strange)} rows have a user or an item that is not known, "
                "and are left out"
            )
        )
    kept: NDArray[np.bool_] = ~strange
    counts = [
        len(known[role]) if known[role] is not None else _count(ids[role][kept]) if size is None else size
        for role, size in zip(("user", "item"), sizes, strict=True)
    ]
    if "observed" in names:
        seen = _numbers(table, names["observed"], "observed")
        check_same_length(users=columns["user"], observed=seen)
        reject("observed", ~((seen == 0) | (seen == 1)), seen, "values must be 0 or 1")
        kept &= seen == 1  # pairs that were not observed belong to D all the same
    rows = np.flatnonzero(kept)
    users, items, values = ids["user"][rows], ids["item"][rows], values[rows]
    empty = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    if empty.any() and "observed" in names:
        place = table.place(int(rows[np.argmax(empty)]))
        raise DatasetError(f"{table.path}: {names['rating']} must be a finite number; got nothing in {place}")
    for role, size, count in zip(("user", "item"), sizes, counts, strict=True):
        if known[role] is None and size is None and count is not None:
            _warn_of_gaps(table, names[role], ids[role], count)
    if len(users):

        def pair_at(position: int) -> str:
            row = int(rows[position])
            user, item = (_shown(columns[role][row]) for role in ("user", "item"))
            return f"(user {user}, item {item}) again in {table.place(row)}"

        users, items, values = merge(users, items, values, int(items.max()) + 1, duplicates, table.path, pair_at)
    return Ratings(users, items, values, counts[0], counts[1], scale, known["user"], known["item"])


def _numbers(table: Table, column: str, argument: str, *, missing: bool = False) -> NDArray:
    """Return a column of numbers; of a file by the rule of its cells, of arrays as it is."""
    cells = table.column(column)
    return as_vector(argument, cells) if table.path == _MEMORY else table.numbers(column, missing=missing)


def _counted_from_zero(table: Table, cells: NDArray) -> bool:
    """Return whether a column holds the integers 0, 1, ... with few of them missing; text counts in files alone."""
    if cells.dtype == object and table.path != _MEMORY:
        texts = {label_of(cell) for cell in set(cells.tolist())}
        if not all(is_whole(text) and len(text) < 19 for text in texts):
            return False
        numbers = set(map(int, texts))
    elif cells.dtype.kind in "iu":
        numbers = set(np.unique(cells).tolist())
    else:
        return False
    return bool(numbers) and min(numbers) == 0 and not _has_gaps(len(numbers), max(numbers) + 1)


def _has_gaps(different: int, count: int) -> bool:
    return count > 2 * different + _SPARE


def _ids(
    table: Table, column: str, argument: str, labels: bool | NDArray[np.str_], size: int | None, unknown: str
) -> tuple[NDArray[np.int64], NDArray[np.str_] | None, NDArray[np.bool_]]:
    """Return the ids of a column, its labels if it has any, and the rows whose user or item is not known."""
    cells = table.column(column)
    if labels is False:
        ids = (
            _whole(table, column, cells) if table.path != _MEMORY and cells.dtype == object else as_ids(argument, cells)
        )
        strange = ids >= size if size is not None and unknown == "skip" else np.zeros(len(ids), dtype=bool)
        return as_ids(argument, np.where(strange, 0, ids), size), None, strange
    texts = as_labels(
        argument, cells if table.path == _MEMORY else np.array(table.labels(column), dtype=object)
    ).tolist()
    known = as_labels(argument, np.array(sorted(set(texts)), dtype=object)) if isinstance(labels, bool) else labels
    place = {text: index for index, text in enumerate(known.tolist())}
    ids = np.fromiter((place.get(text, -1) for text in texts), np.int64, len(texts))
    if unknown == "error" and (ids < 0).any():
        row = int(np.argmax(ids < 0))
        raise DatasetError(
            f"{table.path}: {argument} must be among the {len(known)} known ones; got {_shown(texts[row])} in "
            f"{table.place(row)}; unknown='skip' (--skip-unknown) leaves such rows out"
        )
    return np.maximum(ids, 0), known, ids < 0


def _whole(table: Table, column: str, cells: NDArray) -> NDArray[np.int64]:
    """Return the ids that a column of a file holds, or name the first cell that is none."""
    texts = [None if is_missing(cell) else label_of(cell) for cell in cells.tolist()]
    known = {text: int(text) if text and is_whole(text) and len(text) < 19 else -1 for text in set(texts)}
    if -1 in known.values():
        row = next(row for row, text in enumerate(texts) if known[text] < 0)
        raise DatasetError(
            f"{table.path}: {column} must be an id, an integer of at least 0 without leading zeros; got "
            f"{_shown(cells[row])} in {table.place(row)}; labels=True (--labels) takes names"
        )
    return np.fromiter(map(known.__getitem__, texts), np.int64, len(texts))


def _warn_of_gaps(table: Table, column: str, ids: NDArray[np.int64], count: int) -> None:
    different = len(np.unique(ids))
    if _has_gaps(different, count):
        warn_once(
            DataWarning(
                f"{table.path}: {column} has {different} different ids, but the largest is {count - 1}: all {count} "
                "count as known; labels=True (--labels) numbers those that occur"
            )
        )


def _shown(cell: object) -> str:
    return "nothing" if is_missing(cell) else repr(str(cell)) if isinstance(cell, str) else str(cell)


def _count(ids: NDArray[np.int64]) -> int | None:
    return int(ids.max()) + 1 if len(ids) else None
