"""The file of finished cells: JSON lines, appended one by one, read again by the next run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from python_benchmarks._study.cells import Cell

Record = dict[str, Any]


class LedgerInUseError(OSError):
    """Another process writes to the same file of results."""


class Ledger:
    """Finished cells by key.

    A line is written by one call and flushed to the disk before the next cell is begun, so a killed run loses at most
    the cells it was at; a line cut short by the kill is dropped when the file is read. Cells that failed are kept
    with their error and run again by the next study.

    Parameters
    ----------
    path : Path
        Written beside; made with its folder.
    context : mapping
        What else results depend on, e.g. versions: part of every key, so records of another context are not found.

    Attributes
    ----------
    dropped : int
        Lines that could not be read.

    Raises
    ------
    LedgerInUseError
        The file is open for writing elsewhere.
    """

    def __init__(self, path: Path, context: Mapping[str, Any] | None = None) -> None:
        self.path, self.context, self.dropped = Path(path), dict(context or {}), 0
        self._records: dict[str, Record] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            text = f"{self.path} is being written by another run; wait for it, or use another folder"
            raise LedgerInUseError(text) from None
        self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        for line in content.splitlines():
            try:
                record = json.loads(line)
                self._records[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                self.dropped += 1
        if content and not content.endswith(b"\n"):
            os.write(self._file, b"\n")

    def put(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Append a finished cell.

        Raises
        ------
        TypeError
            The result holds what JSON cannot hold.
        """
        record = {"key": cell.key(self.context), "cell": cell.content(), **result}
        line = json.dumps(record, allow_nan=False)
        os.write(self._file, line.encode() + b"\n")
        os.fsync(self._file)
        self._records[record["key"]] = record

    def get(self, cell: Cell) -> Record | None:
        """The record of a cell that has succeeded, else None."""
        record = self._records.get(cell.key(self.context))
        return None if record is None or "error" in record else record

    def sample(self, cells: Iterable[Cell], metric: str) -> dict[int, float]:
        """Seed -> value of a metric, for the cells of one setting that are finished and have it."""
        found = {cell.seed: (self.get(cell) or {}).get("metrics", {}).get(metric) for cell in cells}
        return {seed: value for seed, value in found.items() if value is not None}

    def count(self, purpose: str) -> int:
        """The number of cells of a purpose that have succeeded, under whatever context."""
        return sum("error" not in one and one["cell"]["purpose"] == purpose for one in self._records.values())

    def error(self, cell: Cell) -> str | None:
        """Why a cell failed, None where it did not."""
        return self._records.get(cell.key(self.context), {}).get("error")

    def __contains__(self, cell: Cell) -> bool:
        return self.get(cell) is not None

    def __len__(self) -> int:
        return sum("error" not in record for record in self._records.values())

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
