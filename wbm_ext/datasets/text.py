"""Text tables of any columns as pandas DataFrames; large files of numbers are read by ``streams`` instead."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any

from wbm_ext.errors import DatasetError, MissingFileError, require_extra


def read_text(path: Path, separator: str, **options: Any) -> Any:
    """Return the table of a text file with a header, also packed as ``.gz``; ``options`` are those of pandas.read_csv.

    Raises
    ------
    MissingFileError, DatasetError
        There is no such file; it is damaged or no text; a line has more values than the header has names.
    MissingExtraError
        pandas is not installed.
    """
    pandas = require_extra("pandas", "data", f"reading {path.name}")
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    try:
        # Left to itself, pandas takes surplus values of the first column for names of the rows, and shifts the others.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            return pandas.read_csv(path, sep=separator, index_col=False, **options)
    except pandas.errors.ParserWarning as error:
        raise DatasetError(f"{path} must not have more values in a line than names in its header") from error
    except (ValueError, OSError, EOFError, zlib.error) as error:  # pandas' own errors are ValueErrors
        raise DatasetError(f"{path} cannot be read as a table of text: {error}") from error
