"""Covariates of a user's table as one matrix of numbers: labels as 0/1 columns, missing values, scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import on_host
from wbm_ext.datasets.cells import is_date, is_missing, label_of, mostly_numbers, parse_number, parse_numbers
from wbm_ext.errors import DataWarning, check_name, warn_once
from wbm_ext.persistence import register

MISSING = ("error", "impute", "indicator")
SCALES = ("standard", "minmax")
_ABSENT = "<missing>"
_FEW = 20  # rows with fewer different labels than this may all differ


class Covariates:
    """Learns from the training table how a table becomes a matrix; :meth:`transform` repeats it.

    Numbers come first, in their order; then, for each categorical column, a 0/1 column for every label but the
    first (labels sorted).

    Parameters
    ----------
    categorical : "auto" or sequence
        Categorical columns by name or, for arrays, by position. "auto": pandas categories, whatever they hold, and
        columns of text. A column of which most cells are numbers and some are not is refused, naming the first such
        cell; so are dates, and labels that hardly repeat, since neither adjusts for anything.
    missing : {"error", "impute", "indicator"}
        "error" refuses missing values. "impute" puts the training median into numeric columns, and makes a label
        of its own of missing labels. "indicator" adds to that a 0/1 column for each numeric column that misses
        values in the training table.
    scale : {"standard", "minmax", None}
        Mean 0 and variance 1, or range 0 to 1, over the training table; constant columns become 0.

    Attributes
    ----------
    columns, names : list
        Of the table; of the matrix.
    label_columns : list of int
        Positions of the categorical columns.
    medians, indicated : array
        Of the numeric columns; positions, among these, with a column that tells what is missing.
    labels : list of array of str
        Of each categorical column, sorted.
    shift, width : array
        The matrix is (value - shift) / width.
    """

    def __init__(self, *, categorical: Any = "auto", missing: str = "error", scale: str | None = None) -> None:
        self.categorical, self.missing, self.scale = categorical, missing, scale

    def fit_transform(self, X: Any) -> NDArray[np.float64]:
        """Return the matrix (n, q) of the training table.

        Raises
        ------
        TypeError, ValueError
            Not a table, no row or column, a text where a number is expected, infinite values, a column without
            any value, missing values that ``missing`` does not allow; under "auto" a column of dates or identifiers.

        Warns
        -----
        DataWarning
            At least as many columns of the matrix as rows; a column that numbers the rows.
        """
        columns, self.columns = _columns(X)
        self.label_columns = _categorical(self.categorical, columns, self.columns, _categories(X))
        numbers, labels = self._split(columns)
        gaps = np.isnan(numbers)
        if gaps.all(axis=0).any():
            name = self._numeric_names()[int(np.argmax(gaps.all(axis=0)))]
            raise ValueError(f"X: column {name!r} holds no value at all; leave it out")
        self.medians = np.nanmedian(numbers, axis=0) if numbers.size else np.zeros(0)
        self.indicated = np.flatnonzero(gaps.any(axis=0) & (self.missing == "indicator"))
        self.labels = [np.unique(column) for column in labels.T]
        if isinstance(self.categorical, str):
            for name, known in zip(self._label_names(), self.labels, strict=True):
                _check_labels(name, known, len(labels))
        for name, column in zip(self._numeric_names(), numbers.T, strict=True):
            _warn_of_row_numbers(name, column)

        self.names = self._numeric_names() + [f"{self._numeric_names()[place]}=missing" for place in self.indicated]
        for name, known in zip(self._label_names(), self.labels, strict=True):
            self.names += [f"{name}={label}" for label in known[1:]]
        self.shift, self.width = np.zeros(len(self.names)), np.ones(len(self.names))
        matrix = self._assemble(numbers, labels)
        if len(self.names) >= len(matrix):
            warn_once(
                DataWarning(
                    f"X has {len(self.names)} columns (labels count one each) for {len(matrix)} units: too many to "
                    "adjust for; leave some out"
                )
            )
        if self.scale is not None:
            low, spread = {
                "standard": lambda: (matrix.mean(axis=0), matrix.std(axis=0)),
                "minmax": lambda: (matrix.min(axis=0), np.ptp(matrix, axis=0)),
            }[self.scale]()
            # a spread that is all rounding error is that of a constant column
            constant = spread <= 1e-12 * np.abs(matrix).max(axis=0)
            self.shift, self.width = low, np.where(constant, 1.0, spread)
        return (matrix - self.shift) / self.width

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the matrix (n, q) of another table with the same columns.

        Raises
        ------
        ValueError
            As :meth:`fit_transform`; also a label the training table does not hold.
        """
        columns, _ = _columns(X)
        numbers, labels = self._split(columns)
        pairs = zip(self._label_names(), labels.T, self.labels, strict=True)
        seen = [_seen(name, column, known) for name, column, known in pairs]
        return (self._assemble(numbers, np.column_stack(seen) if seen else labels) - self.shift) / self.width

    def _assemble(self, numbers: NDArray[np.float64], labels: NDArray[np.str_]) -> NDArray[np.float64]:
        gaps = np.isnan(numbers)
        parts = [np.where(gaps, self.medians, numbers), gaps[:, self.indicated]]
        parts += [column[:, None] == known[1:] for column, known in zip(labels.T, self.labels, strict=True)]
        return np.hstack([part.astype(np.float64) for part in parts])

    def _numeric_names(self) -> list[str]:
        return [str(name) for place, name in enumerate(self.columns) if place not in self.label_columns]

    def _label_names(self) -> list[str]:
        return [str(self.columns[place]) for place in self.label_columns]

    def _split(self, columns: list[NDArray]) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        """Return the numbers (n, p - c), NaN where missing, and the labels (n, c) as strings."""
        rows = len(columns[0])
        numbers = [
            _as_numbers(column, self.columns[place])
            for place, column in enumerate(columns)
            if place not in self.label_columns
        ]
        labels = [_as_labels(columns[place]) for place in self.label_columns]
        gaps = {
            **{name: np.isnan(column) for name, column in zip(self._numeric_names(), numbers, strict=True)},
            **{name: column == _ABSENT for name, column in zip(self._label_names(), labels, strict=True)},
        }
        gaps = {name: gap for name, gap in gaps.items() if gap.any()}
        if gaps and self.missing == "error":
            first, gap = next(iter(gaps.items()))
            raise ValueError(
                f"X: {sum(int(gap.sum()) for gap in gaps.values())} values are missing in columns {list(gaps)}, "
                f"the first in column {first!r}, row {int(np.argmax(gap))}; missing='impute' or 'indicator' takes them"
            )
        return (
            np.column_stack(numbers) if numbers else np.empty((rows, 0)),
            np.column_stack(labels) if labels else np.empty((rows, 0), dtype=str),
        )


def _columns(X: Any) -> tuple[list[NDArray], list[Any]]:
    """Return the columns of a DataFrame or of an array, and their names (positions, for an array)."""
    table = check_table(X)
    if _is_frame(X):
        names = list(X.columns)
        columns = [_plain(X[name], name) for name in names]
    else:
        names, columns = list(range(table.shape[1])), list(table.T)
    if not columns or not len(columns[0]):
        rows = len(columns[0]) if columns else 0
        raise ValueError(f"X must have at least one row and one column; got {rows} rows and {len(columns)} columns")
    return columns, names


def check_table(X: Any) -> Any:
    """Return a DataFrame as it is, else an array (n, p) of numbers or labels.

    Raises
    ------
    TypeError, ValueError
        Something else, another shape, two columns of one name, complex numbers, dates.
    """
    if _is_frame(X):
        names = list(X.columns)
        if len(set(names)) < len(names):
            raise ValueError(f"X: column names must differ; got {names}")
        return X
    if X is None or isinstance(X, str | Mapping) or hasattr(X, "tocsr"):
        hint = "; X.toarray() makes an array of it" if hasattr(X, "tocsr") else ""
        raise TypeError(f"X must be a DataFrame or an array of shape (n, p); got {type(X).__name__}{hint}")
    try:
        table = np.asarray(on_host(X))
    except ValueError as error:
        raise TypeError(f"X must be a DataFrame or an array of shape (n, p); got {error}") from None
    if table.ndim == 0 and table.dtype.kind == "O":
        raise TypeError(f"X must be a DataFrame or an array of shape (n, p); got {type(X).__name__}")
    if table.ndim != 2:
        raise ValueError(f"X must be a table of shape (n, p); got shape {table.shape}")
    if table.dtype.kind not in "biufOUS":
        raise TypeError(f"X must hold numbers or labels; got dtype {table.dtype}")
    return table


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def _plain(column: Any, name: Any) -> NDArray:
    """Return a column of a DataFrame as floats where it holds numbers or booleans, else as objects."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "cmM":
        hint = "" if kind == "c" else "; give dates as numbers, e.g. days since a fixed one"
        raise TypeError(f"X: column {str(name)!r} must hold numbers or labels; got dtype {column.dtype}{hint}")
    if kind in "iuf" and not hasattr(column.dtype, "categories"):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy(dtype=object)


def _categories(X: Any) -> list[int]:
    """Return the positions of the pandas categories of a table."""
    return [place for place, dtype in enumerate(X.dtypes) if hasattr(dtype, "categories")] if _is_frame(X) else []


def _categorical(given: Any, columns: list[NDArray], names: list[Any], categories: list[int]) -> list[int]:
    """Return the positions of the categorical columns."""
    if isinstance(given, str):
        check_name("categorical", given, ["auto"])
        pairs = enumerate(zip(columns, names, strict=True))
        return [place for place, (column, name) in pairs if place in categories or not _is_numeric(column, name)]
    if not isinstance(given, Sequence | np.ndarray):
        raise TypeError(f"categorical must be 'auto' or a sequence of columns; got {type(given).__name__}")
    known = {name: place for place, name in enumerate(names)}
    for name in given:
        if name not in known:
            raise ValueError(f"categorical: the table has no column {name!r}; it has {names[:20]}")
    return sorted({known[name] for name in given})


def _is_numeric(column: NDArray, name: Any) -> bool:
    """Return whether a column holds numbers; raise if it does but for some cells."""
    if column.dtype.kind in "biuf":
        return True
    cells = column.tolist()
    text = [isinstance(cell, str) for cell in cells]
    if not any(text):
        return all(parse_number(cell) is not None for cell in cells)
    values, bad = parse_numbers(cells)
    if mostly_numbers(bad, values):
        row = int(np.argmax(bad))
        raise ValueError(
            f"X: column {str(name)!r} holds numbers but for {int(bad.sum())} of {len(cells)} cells, the first "
            f"{cells[row]!r} in row {row}; correct them, or name the column in categorical if it holds labels"
        )
    return not bad.any() and not all(text)


def _check_labels(name: str, known: NDArray[np.str_], rows: int) -> None:
    """Raise if the labels of a column are dates or hardly repeat."""
    held = [label for label in known.tolist() if label != _ABSENT]
    remedy = "leave it out (--leave-out), or name it in categorical (--categorical) if its labels are meant"
    if held and all(map(is_date, held)):
        raise ValueError(
            f"X: column {name!r} holds dates, e.g. {held[0]!r}; give them as numbers, say days since a fixed one, or "
            f"{remedy}"
        )
    if len(held) > max(_FEW, rows / 2):
        raise ValueError(
            f"X: column {name!r} holds {len(held)} different labels in {rows} rows, as names of the units would be; "
            f"{remedy}"
        )


def _warn_of_row_numbers(name: str, column: NDArray[np.float64]) -> None:
    """Warn if a column holds consecutive integers, each once, in order: a number of the row."""
    if len(column) > _FEW and (np.diff(column) == 1).all():
        warn_once(DataWarning(f"X: column {name!r} numbers the rows; leave it out (--leave-out {name}) if it is an id"))


def _as_numbers(column: NDArray, name: Any) -> NDArray[np.float64]:
    if column.dtype.kind in "biuf":
        numbers = column.astype(np.float64)
        bad = np.isinf(numbers)
    else:
        numbers, bad = parse_numbers(column.tolist())
    if bad.any():
        row = int(np.argmax(bad))
        got = column[row].item() if isinstance(column[row], np.generic) else column[row]
        error: type[Exception] = TypeError if isinstance(got, str) else ValueError
        raise error(f"X: column {str(name)!r} must hold finite numbers; got {got!r} in row {row}")
    return numbers


def _as_labels(column: NDArray) -> NDArray:
    cells = column.tolist()
    known = {cell: _ABSENT if is_missing(cell) else label_of(cell) for cell in set(cells)}
    return np.array([known[cell] for cell in cells], dtype=str)


def _seen(name: str, column: NDArray[np.str_], known: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the labels of a column, each as the fit had it; raise at the first that it had not."""
    if np.isin(column, known).all():
        return column
    column = np.array([text if text in known else _canonical(text) for text in column.tolist()])  # 1 written as 1.0
    unseen = ~np.isin(column, known)
    if unseen.any():
        row = int(np.argmax(unseen))
        raise ValueError(
            f"X: column {name!r} must hold labels known from fit, {', '.join(known[:20])}; got {str(column[row])!r} in "
            f"row {row}"
        )
    return column


def _canonical(text: str) -> str:
    number = parse_number(text)
    return text if number is None or np.isnan(number) else label_of(number)


_FIELDS = (
    *("categorical", "missing", "scale", "columns", "names", "label_columns", "medians", "indicated"),
    *("labels", "shift", "width"),
)


def _restore(fields: dict[str, Any]) -> Covariates:
    if fields.keys() != set(_FIELDS):
        raise ValueError(f"covariates have the fields {', '.join(_FIELDS)}; got {', '.join(map(str, fields))}")
    covariates = Covariates()
    vars(covariates).update(fields)
    return covariates


register("ite.Covariates", Covariates, lambda covariates: dict(vars(covariates)), _restore)
