"""Large text files of numbers, read in blocks of whole lines: flat memory, and errors with file and line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wbm_ext.errors import DatasetError, MissingFileError, require_extra

BLOCK = 1 << 24
"""Bytes read at a time."""


def read_columns(
    path: Path,
    fields: Sequence[str],
    wanted: Mapping[str, DTypeLike],
    *,
    separator: str = ",",
    header: bool = False,
    block: int = BLOCK,
) -> tuple[dict[str, NDArray], str]:
    r"""Return the wanted columns of a text file, and its SHA-256.

    The hash is that of the unpacked content with line ends ``\n``. Empty lines are passed over.

    Parameters
    ----------
    path : Path
        Plain, or packed as ``.gz``; line ends ``\n`` or ``\r\n``.
    fields : sequence of str
        All columns of a line, in order.
    wanted : mapping from str to dtype
        Columns to return; an integer type for ids (at least 0), a float type for finite numbers.
    separator : str
        One character.
    header : bool
        The first line holds the names: these fields in any order, others too.
    block : int
        Bytes read at a time.

    Raises
    ------
    MissingFileError
        There is no such file.
    DatasetError
        A damaged file, a header without a wanted column, a line with another number of values, a value that is
        not of its type.
    MissingExtraError
        pandas is not installed.
    """
    require_extra("pandas", "data", f"reading {path.name}")
    parts: dict[str, list[NDArray]] = {name: [] for name in wanted}
    digest, line, names = hashlib.sha256(), 1, list(fields)
    for content in _blocks(path, block):
        digest.update(content)
        lines = content.count(b"\n") + (not content.endswith(b"\n"))
        if line == 1 and header:
            first, _, content = content.partition(b"\n")
            names = _names(first, separator, wanted, path)
            line, lines = 2, lines - 1
        if content.strip(b"\n"):
            for name, values in _parse(content, names, wanted, separator, line, path).items():
                parts[name].append(values)
        line += lines
    if header and line == 1:
        raise DatasetError(f"{path} must begin with a header that holds {', '.join(wanted)}; got an empty file")
    columns = {}
    for name, dtype in wanted.items():
        columns[name] = np.concatenate(parts.pop(name) or [np.empty(0, dtype)])
    return columns, digest.hexdigest()


def _blocks(path: Path, block: int) -> Iterator[bytes]:
    """Yield the content in pieces that end with a line."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            rest = b""
            while piece := file.read(block):
                whole, newline, rest = (rest + piece).rpartition(b"\n")
                if newline:
                    yield (whole + newline).replace(b"\r\n", b"\n")
            if rest:
                yield rest.removesuffix(b"\r")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read; got {error}") from error


def _names(first: bytes, separator: str, wanted: Mapping[str, Any], path: Path) -> list[str]:
    names = [cell.strip().strip('"') for cell in first.decode("utf-8-sig", "replace").split(separator)]
    lacking = [name for name in wanted if names.count(name) != 1]
    if lacking:
        raise DatasetError(
            f"{path} must begin with a header that holds {', '.join(lacking)} once; got {', '.join(names)[:120]}"
        )
    return names


def _parse(
    content: bytes, names: Sequence[str], wanted: Mapping[str, DTypeLike], separator: str, line: int, path: Path
) -> dict[str, NDArray]:
    import pandas

    _check_width(content, len(names), separator, line, path)
    # ids are read as int64, so that one that does not fit is seen before it is narrowed
    types = {name: np.int64 if np.issubdtype(dtype, np.integer) else dtype for name, dtype in wanted.items()}
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit its type is refused below
            frame = pandas.read_csv(
                io.BytesIO(content),
                sep=separator,
                header=None,
                names=list(names),
                usecols=list(wanted),
                dtype=types,
                engine="c",
                na_filter=False,
                quoting=csv.QUOTE_NONE,
                encoding_errors="replace",
            )
        columns = {name: frame[name].to_numpy() for name in wanted}
        good = all(_fits(values, wanted[name]).all() for name, values in columns.items())
    except (ValueError, OverflowError, TypeError, pandas.errors.ParserError) as error:
        _locate(content, names, wanted, separator, line, path)
        raise DatasetError(f"{path} cannot be read near line {line}; got {error}") from error
    if not good:
        _locate(content, names, wanted, separator, line, path)
        raise DatasetError(f"{path} holds a value out of range near line {line}")
    return {name: values.astype(wanted[name], copy=False) for name, values in columns.items()}


def _fits(values: NDArray, dtype: DTypeLike) -> NDArray[np.bool_]:
    if np.issubdtype(dtype, np.integer):
        return (values >= 0) & (values <= np.iinfo(dtype).max)
    return np.isfinite(values)


def _check_width(content: bytes, count: int, separator: str, line: int, path: Path) -> None:
    """Raise DatasetError at the first line that does not hold ``count`` values."""
    characters = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    if not content.endswith(b"\n"):
        ends = np.append(ends, len(characters))
    starts = np.concatenate([[0], ends[:-1] + 1])
    commas = np.flatnonzero(characters == ord(separator))
    found = np.searchsorted(commas, ends) - np.searchsorted(commas, starts) + 1
    bad = (found != count) & (ends > starts)
    if bad.any():
        place = int(np.argmax(bad))
        raise DatasetError(f"{path} must have {count} values a line; got {found[place]} in line {line + place}")


def _locate(
    content: bytes, names: Sequence[str], wanted: Mapping[str, DTypeLike], separator: str, line: int, path: Path
) -> None:
    """Raise DatasetError at the first value that is not of its type."""
    places = [(names.index(name), name, np.issubdtype(dtype, np.integer)) for name, dtype in wanted.items()]
    for number, text in enumerate(content.split(b"\n"), start=line):
        cells = text.decode("utf-8", "replace").split(separator)
        for place, name, whole in places if text else ():
            try:
                value = int(cells[place]) if whole else float(cells[place])
                with np.errstate(over="ignore"):
                    good = bool(_fits(np.array([value], dtype=np.int64 if whole else wanted[name]), wanted[name])[0])
            except (ValueError, OverflowError, TypeError):
                good = False
            if not good:
                expected = "an id, an integer of at least 0" if whole else "a finite number"
                raise DatasetError(f"{path}: {name} must be {expected}; got {cells[place][:40]!r} in line {number}")
