"""Data files that the user has: where they are, whether they are the registered ones, what they hold."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError

DATA_VARIABLE = "WBM_DATA"
"""Environment variable with the folder that holds one folder a data set."""


def data_root(root: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the folder of data set ``name``.

    Parameters
    ----------
    root : path, optional
        The folder with the files themselves. Left out: ``$WBM_DATA/<name>``, else :func:`cache_root` if it exists.
    name : str
        Name of the data set, e.g. ``"coat"``.

    Raises
    ------
    MissingFileError
        Neither is given, or the folder does not exist.
    """
    variable = os.environ.get(DATA_VARIABLE)
    if root is not None:
        folder, origin = Path(root).expanduser(), "root"
    elif variable:
        folder, origin = Path(variable).expanduser() / name, f"environment variable {DATA_VARIABLE}"
    elif cache_root(name).is_dir():
        return cache_root(name)
    else:
        raise MissingFileError(
            f"data set {name!r} needs a folder: pass root=<folder with its files>, or set the environment "
            f"variable {DATA_VARIABLE} to the parent of a folder named {name!r}; got neither"
        )
    if not folder.is_dir():
        raise MissingFileError(f"data set {name!r} needs a folder: {folder} (from {origin}) is not one")
    return folder


def cache_root(name: str) -> Path:
    """Return the cache folder of data set ``name``, ``$XDG_CACHE_HOME/wbm_ext/<name>``; it may not exist."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "wbm_ext" / name


def find(folder: Path, filename: str) -> Path | None:
    """Return ``folder/filename``, else ``folder/filename.gz``, else None."""
    plain, packed = folder / filename, folder / f"{filename}.gz"
    return plain if plain.is_file() else packed if packed.is_file() else None


def read(path: Path) -> bytes:
    r"""Return the content of a text file, unpacked if it ends in ``.gz``, with ``\r\n`` turned into ``\n``.

    Raises
    ------
    MissingFileError
        There is no such file.
    DatasetError
        The packed file is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist") from error
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DatasetError(f"{path} must be a gzip file; got a damaged one ({error})") from error
    return content.replace(b"\r\n", b"\n")


def verify(path: Path, sha256: str, content: bytes | None = None) -> None:
    r"""Compare a file with its registered SHA-256.

    The hash is that of the unpacked content with line ends ``\n``, so packed copies and copies with
    ``\r\n`` pass as well.

    Parameters
    ----------
    path : Path
    sha256 : str
        Expected hash, 64 hexadecimal digits.
    content : bytes, optional
        What :func:`read` returned for ``path``; left out, it is read here.

    Raises
    ------
    ChecksumError
        The hash differs.
    """
    got = hashlib.sha256(read(path) if content is None else content).hexdigest()
    if got != sha256:
        raise ChecksumError(
            f"{path} is not the registered file: expected SHA-256 {sha256}, got {got}; "
            "fetch the file again from its source, or pass verify=False if the change is meant"
        )


def parse_table(content: bytes, shape: tuple[int, int], where: object) -> NDArray[np.float64]:
    """Turn lines of numbers separated by blanks into a float64 array of the given shape.

    Parameters
    ----------
    content : bytes
        Text as returned by :func:`read`; empty lines are passed over.
    shape : (int, int)
        Lines and numbers a line expected.
    where : object
        Name of the file for the error message.

    Raises
    ------
    DatasetError
        Another number of lines or of values in a line, or a value that is not a number.
    """
    rows = [line.split() for line in content.split(b"\n") if line.strip()]
    if len(rows) != shape[0]:
        raise DatasetError(f"{where} must have {shape[0]} lines of {shape[1]} numbers; got {len(rows)} lines")
    for number, row in enumerate(rows, start=1):
        if len(row) != shape[1]:
            raise DatasetError(f"{where} must have {shape[1]} numbers a line; got {len(row)} in line {number}")
    try:
        table = np.array(rows, dtype=np.bytes_).astype(np.float64)
    except ValueError as error:
        line, value = next((number, cell) for number, row in enumerate(rows, 1) for cell in row if not _is_number(cell))
        raise DatasetError(f"{where} must hold numbers only; got {value[:40]!r} in line {line}") from error
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        line, column = (int(index) for index in bad[0])
        raise DatasetError(
            f"{where} must hold finite numbers; got {table[line, column]} at line {line + 1}, column {column + 1}"
        )
    return table


def _is_number(cell: bytes) -> bool:
    try:
        np.array([cell], dtype=np.bytes_).astype(np.float64)
    except ValueError:
        return False
    return True
