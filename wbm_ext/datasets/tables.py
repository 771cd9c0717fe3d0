"""A user's own ratings: a DataFrame, a CSV or a Parquet file of (user, item, rating[, observed])."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_ids, as_vector, check_same_length, reject
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.duplicates import RULES, merge
from wbm_ext.datasets.labels import as_labels, number, read_named
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.errors import DatasetError, MissingFileError, check_name, require_extra

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


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
    duplicates: str = "error",
    labels: bool | Ratings = False,
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
    labels : bool or Ratings
        True: users and items are strings (or any integers, taken as strings). They are numbered in sorted order, and
        kept as ``user_labels`` and ``item_labels``. A Ratings that has labels: those alone may occur, under its ids.

    Raises
    ------
    MissingFileError
        There is no such file.
    DatasetError
        A file that cannot be read, without a column, or with values that cannot be; the message names the file and,
        for text, the line.
    UnknownNameError
        A column that the table does not have, a rule that does not exist.
    TypeError, ValueError
        As for :class:`Ratings`.
    """
    check_name("duplicates", duplicates, RULES)
    names = {"user": user, "item": item, "rating": rating}
    if observed is not None:
        names["observed"] = observed
    if len(set(names.values())) < len(names):
        raise ValueError(f"user, item, rating and observed must name different columns; got {list(names.values())}")
    if isinstance(labels, Ratings) and (labels.user_labels is None or labels.item_labels is None):
        raise ValueError("labels must be True, False or a Ratings with user_labels and item_labels; got one without")
    if labels is not False and not (n_users is n_items is None):
        raise ValueError("n_users and n_items must be left out with labels, which tell them")
    where: object = "source"
    if isinstance(source, (str, os.PathLike)):
        where = Path(source).expanduser()
        columns = _from_file(Path(source).expanduser(), names, bool(labels))
    else:
        columns = _from_frame(source, names)
    try:
        if labels is False:
            return _ratings(columns, n_users, n_items, scale, duplicates, where)
        users, items = as_labels("users", columns["user"]), as_labels("items", columns["item"])
        known = (np.unique(users), np.unique(items)) if labels is True else (labels.user_labels, labels.item_labels)
        columns |= {"user": number("users", users, known[0]), "item": number("items", items, known[1])}
        sizes = (len(known[0]), len(known[1]))
        return replace(_ratings(columns, *sizes, scale, duplicates, where), user_labels=known[0], item_labels=known[1])
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error


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
        largest id of either table plus one.

    Raises
    ------
    MissingFileError, DatasetError, UnknownNameError, TypeError, ValueError
        As for :func:`read_ratings`.
    """
    parts = [read_ratings(source, **options) for source in (train, test)]
    if options.get("labels") is True:
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


def kind_of(path: Path) -> str:
    """Return the end of the name that says what a table file is, without ``.gz``."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def _from_file(path: Path, names: dict[str, str], labels: bool) -> dict[str, Any]:
    kind = kind_of(path)
    if kind in PARQUET:
        return _from_parquet(path, names)
    if kind not in SEPARATORS:
        raise DatasetError(f"{path} must end in {', '.join([*SEPARATORS, *PARQUET])} (text also as .gz); got {kind!r}")
    if labels:
        return read_named(path, names, SEPARATORS[kind])
    from wbm_ext.datasets.streams import read_columns

    types = {"user": np.int64, "item": np.int64, "rating": np.float64, "observed": np.int64}
    wanted = {column: types[role] for role, column in names.items()}
    table, _ = read_columns(path, (), wanted, separator=SEPARATORS[kind], header=True)
    return {role: table[column] for role, column in names.items()}


def _from_parquet(path: Path, names: dict[str, str]) -> dict[str, Any]:
    parquet = require_extra("pyarrow.parquet", "data", f"reading {path.name}")
    arrow = require_extra("pyarrow", "data", f"reading {path.name}")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")
    try:
        present = parquet.read_schema(path).names
        for role, column in names.items():
            check_name(f"{path}, column {role}", column, present)
        table = parquet.read_table(path, columns=list(names.values()))
        return {role: table[column].to_numpy() for role, column in names.items()}
    except (OSError, arrow.ArrowException) as error:
        raise DatasetError(f"{path} must be a Parquet file; got {error}") from error


def _from_frame(frame: Any, names: dict[str, str]) -> dict[str, Any]:
    if not hasattr(frame, "keys"):
        raise TypeError(f"source must be a DataFrame, a mapping of columns or a path; got {type(frame).__name__}")
    present = list(frame.columns if hasattr(frame, "columns") else frame.keys())
    for role, column in names.items():
        if column not in present:
            check_name(f"column {role}", column, map(str, present))
    return {role: frame[column] for role, column in names.items()}


def _ratings(
    columns: dict[str, Any],
    n_users: int | None,
    n_items: int | None,
    scale: tuple[float, float] | None,
    duplicates: str,
    where: object,
) -> Ratings:
    users, items = as_ids("users", columns["user"], n_users), as_ids("items", columns["item"], n_items)
    values = as_vector("ratings", columns["rating"])
    check_same_length(users=users, items=items, ratings=values)
    if "observed" in columns:
        seen = as_vector("observed", columns["observed"])
        check_same_length(users=users, observed=seen)
        reject("observed", ~((seen == 0) | (seen == 1)), seen, "values must be 0 or 1")
        kept: NDArray[np.bool_] = seen == 1
        # pairs that were not observed belong to D all the same
        n_users = _count(users) if n_users is None else n_users
        n_items = _count(items) if n_items is None else n_items
        users, items, values = users[kept], items[kept], values[kept]
    if len(users):
        users, items, values = merge(users, items, values, int(items.max()) + 1, duplicates, where)
    return Ratings(users, items, values, n_users, n_items, scale)


def _count(ids: NDArray[np.int64]) -> int | None:
    return int(ids.max()) + 1 if len(ids) else None
