"""Tables in and out of files: CSV, TSV and Parquet as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wbm_ext.errors import DatasetError, MissingFileError, check_name, require_extra

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


def read_frame(path: Path) -> Any:
    """Return the table at ``path``.

    Raises
    ------
    MissingFileError, DatasetError
        There is no such file; its name ends otherwise; it cannot be read; it has no row.
    MissingExtraError
        pandas, or for Parquet pyarrow, is not installed.
    """
    kind = _kind(path)
    if kind in PARQUET:
        frame = _read_parquet(path)
    else:
        from wbm_ext.datasets.text import read_text

        frame = read_text(path, SEPARATORS[kind])
    if frame.empty:
        raise DatasetError(f"{path} must hold a header and at least one row; got {len(frame)} rows")
    return frame


def _read_parquet(path: Path) -> Any:
    pandas = require_extra("pandas", "data", f"reading {path.name}")
    require_extra("pyarrow", "data", f"reading {path.name}")
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    try:
        return pandas.read_parquet(path)
    # pyarrow's own errors are ValueErrors; the others come from pandas, which trusts the metadata it finds
    except (ValueError, OSError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read as a Parquet table: {error}") from error


def write_frame(frame: Any, path: Path) -> None:
    """Write a DataFrame without its index; the file appears whole or not at all."""
    from wbm_ext.persistence import atomic_write

    kind = _kind(path)
    if kind in PARQUET:
        require_extra("pyarrow", "data", f"writing {path.name}")
        atomic_write(path, lambda file: frame.to_parquet(file, index=False))
    else:
        compression = "gzip" if path.suffix == ".gz" else None
        atomic_write(path, lambda file: frame.to_csv(file, index=False, sep=SEPARATORS[kind], compression=compression))


def check_out(path: Path | None) -> None:
    """Raise, before any work, if a table cannot be written to ``path``."""
    if path is None:
        return
    _kind(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out {path}: the folder {path.parent} does not exist")


def take(frame: Any, wanted: Iterable[str], path: Path) -> list[str]:
    """Return ``wanted`` if all are columns of ``frame``; else raise, naming the nearest."""
    present = [str(column) for column in frame.columns]
    return [check_name(f"{path}: column", name, present) for name in wanted]


def _kind(path: Path) -> str:
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in SEPARATORS and (kind not in PARQUET or path.suffix == ".gz"):
        ends = ", ".join([*SEPARATORS, *PARQUET])
        raise DatasetError(f"{path} must end in {ends} (text also as .gz); got {path.suffix!r}")
    return kind
