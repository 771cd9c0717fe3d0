"""Table files of any columns, as text or Parquet: one reader for every command, whose errors name the place.

Text follows RFC 4180: a cell may stand in quotation marks, and then hold separators and line ends. Blanks around
a cell are no part of it. Large registered files of numbers are read by ``streams`` instead.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets.cells import is_missing, label_of, mostly_numbers, parse_numbers
from wbm_ext.errors import DatasetError, MissingFileError, UnknownNameError, check_name, require_extra

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")
_TREATED = (("0", "1"), ("no", "yes"), ("false", "true"), ("n", "y"), ("f", "t"), ("untreated", "treated"))
_TREATED += (("control", "treated"), ("control", "treatment"))
_ROWS = 1 << 16  # rows of text that are turned into columns at a time


@dataclass(frozen=True)
class Table:
    """Columns of a file, as they stand in it.

    Attributes
    ----------
    path : Path
    columns : {name: array}
        Of text: strings. Of Parquet: numbers where there are only numbers, else objects.
    labelled : frozenset of str
        Columns that the file itself declares as labels (a category, strings), whatever they look like.
    lines : array of int, optional
        Line at which each row begins; None where the file has no lines.
    """

    path: Path
    columns: dict[str, NDArray]
    labelled: frozenset[str] = frozenset()
    lines: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def place(self, row: int) -> str:
        """Return where a row (from 0) is: its line, or its number from 1."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def check(self, *names: str) -> None:
        """Raise :class:`UnknownNameError`, with the nearest name, if a column is not there."""
        for name in names:
            check_name(f"{self.path}: column", name, self.columns)

    def column(self, name: str) -> NDArray:
        """Return the cells of a column."""
        self.check(name)
        return self.columns[name]

    def numbers(self, name: str, *, missing: bool = False) -> NDArray[np.float64]:
        """Return a column as numbers; NaN where nothing stands, if ``missing`` allows it.

        Raises
        ------
        DatasetError
            A cell that is no finite number; the message holds file, place, column and cell.
        """
        column = self.column(name)
        values, bad = parse_numbers(column.tolist())
        if not missing:
            bad = bad | np.isnan(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise DatasetError(
                f"{self.path}: {name} must be a finite number; got {_shown(column[row])} in {self.place(row)}, "
                f"column {name!r}"
            )
        return values

    def times(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers or of dates such as 2021-03-05 (with or without a time of day) as numbers.

        Raises
        ------
        DatasetError
            A cell that is neither; the message holds file, place and cell.
        """
        cells = self.column(name).tolist()
        values, bad = parse_numbers(cells)
        if bad.any():
            stamps = {cell: _seconds(cell) for cell in set(cells)}
            values = np.array([stamps[cell] for cell in cells])
        if np.isnan(values).any():
            row = int(np.argmax(np.isnan(values)))
            raise DatasetError(
                f"{self.path}: {name} must hold times, numbers or dates such as 2021-03-05; got {_shown(cells[row])} "
                f"in {self.place(row)}"
            )
        return values

    def labels(self, name: str) -> list[str]:
        """Return a column as text.

        Raises
        ------
        DatasetError
            A cell in which nothing stands.
        """
        column = self.column(name).tolist()
        known = {cell: None if is_missing(cell) else label_of(cell) for cell in set(column)}
        texts = [known[cell] for cell in column]
        if None in known.values():
            row = texts.index(None)
            raise DatasetError(f"{self.path}: {name} must not be empty; got nothing in {self.place(row)}")
        return texts  # type: ignore[return-value]

    def treatments(self, name: str, treated: str | None = None) -> NDArray[np.int64]:
        """Return a column of two values as 0 and 1.

        Parameters
        ----------
        name : str
        treated : str, optional
            The value that stands for 1; default 1, or what usually does: yes, true, treated, treatment, y, t.

        Raises
        ------
        DatasetError
            Other than two values, an empty cell, no or another value for 1; the message names the values there are.
        """
        texts = self.labels(name)
        values = sorted(set(texts))
        if treated is not None and treated not in values:
            raise DatasetError(
                f"{self.path}: {name} must hold the treated value {treated!r}; got {', '.join(map(repr, values[:5]))}"
            )
        if treated is None:
            usual = {frozenset(pair): pair[1] for pair in _TREATED}
            words = {value.lower().removesuffix(".0"): value for value in values}
            one = usual.get(frozenset(words)) if len(words) == len(values) else None
            if one is None and len(values) == 1 and next(iter(words)) in ("0", "1"):
                return np.full(len(texts), int(next(iter(words))), dtype=np.int64)
            treated = words[one] if one is not None else None
        if len(values) != 2 or treated is None:
            shown = ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
            remedy = "; say which one is treated (--treated)" if len(values) == 2 else ""
            raise DatasetError(
                f"{self.path}: {name} must be a treatment of two values, 0 and 1 say; got {len(values)}: {shown}"
                f"{remedy}"
            )
        return np.array([text == treated for text in texts], dtype=np.int64)

    def covariates(self, names: Sequence[str], labels: Iterable[str] = ()) -> Any:
        """Return columns as a DataFrame of numbers (float64, NaN where missing) and categories.

        A column is one of labels if it is named in ``labels``, if the file declares it so, or if most of its cells
        are no numbers.

        Raises
        ------
        DatasetError
            A column of numbers but for some cells; the message holds file, place, column and the first such cell.
        """
        pandas = require_extra("pandas", "data", "a table of covariates")
        return pandas.DataFrame({name: self._covariate(name, name in labels, pandas) for name in names})

    def _covariate(self, name: str, labelled: bool, pandas: Any) -> Any:
        column = self.column(name)
        cells = column.tolist()
        declared = labelled or name in self.labelled
        values, bad = (np.zeros(0), np.zeros(0, dtype=bool)) if labelled else parse_numbers(cells)
        if not declared and not bad.any():
            return values
        if not labelled and mostly_numbers(bad, values):
            row = int(np.argmax(bad))
            raise DatasetError(
                f"{self.path}: column {name!r} holds numbers but for {int(bad.sum())} of {len(cells)} cells, the "
                f"first {_shown(column[row])} in {self.place(row)}; correct them, empty them if they are missing, "
                f"or say that the column holds labels (--categorical {name})"
            )
        known = {cell: None if is_missing(cell) else label_of(cell) for cell in set(cells)}
        return pandas.Categorical([known[cell] for cell in cells])


def read_table(path: Path, names: Sequence[str] | None = None) -> Table:
    """Return the table of a file whose name ends in .csv, .tsv, .txt (also .gz) or .parquet.

    Parameters
    ----------
    path : Path
    names : sequence of str, optional
        The columns to keep; default all.

    Raises
    ------
    MissingFileError, DatasetError
        There is no such file; its name ends otherwise; it is damaged or no table; two columns of one name; a line with
        another number of cells than the header; no row.
    UnknownNameError
        A column that it does not have; the message holds the nearest one.
    MissingExtraError
        pyarrow, for Parquet, is not installed.
    """
    kind = check_kind(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    table = _read_parquet(path, names) if kind in PARQUET else _read_text(path, SEPARATORS[kind], names)
    if not len(table):
        raise DatasetError(f"{path} must hold a header and at least one row; got no row")
    return table


def check_kind(path: Path) -> str:
    """Return the end of the name that says what a table file is, without ``.gz``; else raise DatasetError."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in SEPARATORS and (kind not in PARQUET or path.suffix == ".gz"):
        ends = ", ".join([*SEPARATORS, *PARQUET])
        raise DatasetError(f"{path} must end in {ends} (text also as .gz); got {path.suffix!r}")
    return kind


def _read_text(path: Path, separator: str, wanted: Sequence[str] | None) -> Table:
    line = 0
    try:
        with _opened(path) as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(path, header, separator)
            names = list(header if wanted is None else wanted)
            places = [header.index(check_name(f"{path}: column", name, header)) for name in names]
            parts: list[list[list[str]]] = [[] for _ in names]
            seen: dict[str, str] = {}  # each text once in memory, without the blanks around it
            lines: list[int] = []
            rows = _rows(reader, len(header), path)
            while block := list(islice(rows, _ROWS)):
                line = block[-1][0]
                lines += [start for start, _ in block]
                for part, place in zip(parts, places, strict=True):
                    part.append([seen.get(row[place]) or _stripped(row[place], seen) for _, row in block])
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DatasetError(
            f"{path} must be UTF-8 text; got the byte 0x{byte:02x} after line {line}; save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as a table of text: {error}, in line {reader.line_num}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    columns = {name: _objects(part) for name, part in zip(names, parts, strict=True)}
    return Table(path, columns, lines=np.array(lines, dtype=np.int64))


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]
    return path.open(encoding="utf-8-sig", newline="")


def _rows(reader: Any, width: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line at which it begins, cells) of every row; empty lines are passed over."""
    last = reader.line_num
    for row in reader:
        start, last = last + 1, reader.line_num
        if not row:
            continue
        if len(row) != width:
            raise DatasetError(
                f"{path} must have {width} cells a line, as its header has; got {len(row)} in line {start}"
            )
        yield start, row


def _check_header(path: Path, header: list[str], separator: str) -> None:
    if not any(header):
        raise DatasetError(f"{path} must begin with a header, the names of its columns; got an empty line or file")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        place = " an empty name" if not twice[0] else f" {twice[0]!r}"
        raise DatasetError(f"{path} must have columns of different names; got{place} {header.count(twice[0])} times")
    if len(header) == 1:
        for other, called in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
            if other != separator and other in header[0]:
                end = {"\t": ".tsv", ",": ".csv"}.get(other)
                remedy = f"give it the end {end}" if end else "save it with commas"
                raise DatasetError(f"{path} seems to be separated by {called}, not by {separator!r}: {remedy}")


def _stripped(cell: str, seen: dict[str, str]) -> str:
    text = cell.strip()
    return seen.setdefault(cell, seen.setdefault(text, text))


def _objects(parts: list[list[str]]) -> NDArray:
    column = np.empty(sum(map(len, parts)), dtype=object)
    start = 0
    for part in parts:
        column[start : start + len(part)] = part
        start += len(part)
    return column


def _read_parquet(path: Path, wanted: Sequence[str] | None) -> Table:
    parquet = require_extra("pyarrow.parquet", "data", f"reading {path.name}")
    arrow = require_extra("pyarrow", "data", f"reading {path.name}")
    try:
        # a file of pandas may hold the names of its rows as a column, which is none of the table
        schema = parquet.read_schema(path)
        present = [name for name in schema.names if not name.startswith("__index_level_")]
        categories = {
            column["name"]
            for column in (schema.pandas_metadata or {}).get("columns", ())
            if column["pandas_type"] == "categorical"  # of numbers too, which Parquet itself does not tell
        }
        twice = [name for name in present if present.count(name) > 1]
        if twice:
            raise DatasetError(f"{path} must have columns of different names; got {twice[0]!r} twice")
        names = [check_name(f"{path}: column", name, present) for name in (present if wanted is None else wanted)]
        table = parquet.read_table(path, columns=names)
        columns, labelled = {}, set()
        for name in names:
            columns[name], is_text = _from_arrow(table[name], arrow.types)
            if is_text or name in categories:
                labelled.add(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, arrow.ArrowException) as error:
        if isinstance(error, DatasetError | UnknownNameError):
            raise
        raise DatasetError(f"{path} must be a Parquet file; got {error}") from error
    return Table(path, columns, frozenset(labelled))


def _from_arrow(column: Any, types: Any) -> tuple[NDArray, bool]:
    """Return the cells of a column, and whether its type is one of text."""
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if number and column.null_count == 0:
        return column.to_numpy(), False
    cells = np.empty(len(column), dtype=object)
    values = column.to_pylist()
    # of whatever else a file may hold (dates, lists) the text; who uses the column says whether it can be used
    cells[:] = values if number else [None if value is None else str(value) for value in values]
    return cells, not number


def _seconds(cell: object) -> float:
    """Return the seconds since 1970 of a date in ISO 8601, NaN of anything else."""
    try:
        stamp = datetime.fromisoformat(str(cell))
    except ValueError:
        return float("nan")
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _shown(cell: object) -> str:
    return "nothing" if is_missing(cell) else repr(cell if not isinstance(cell, str) else cell[:40])
