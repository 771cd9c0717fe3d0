"""The epochs of a run as JSON lines, one an epoch, readable while it runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wbm_ext.persistence import atomic_write


class EpochLog:
    """A file of strict JSON lines: the record of an epoch and ``seconds``, its wall time.

    A figure that is NaN or infinite, which JSON cannot hold, stands as null.

    Parameters
    ----------
    path : path
        A run that starts afresh replaces the file. A resumed one keeps the lines of the epochs it has behind it and
        drops those after (and a last line that a crash has cut).
    records : sequence of dict
        The epochs behind the run; a line that is missing is written again, without ``seconds``.
    """

    def __init__(self, path: str | os.PathLike[str], records: Sequence[Mapping[str, float]] = ()) -> None:
        self.path = Path(path)
        lines = {int(record["epoch"]): _line(record) for record in records}
        if lines and self.path.is_file():
            for text in self.path.read_text().splitlines():
                epoch = _epoch(text)
                if epoch in lines:
                    lines[epoch] = text + "\n"
        atomic_write(self.path, lambda file: file.write("".join(lines.values()).encode()))
        self._file = self.path.open("a")

    def write(self, record: Mapping[str, float], seconds: float) -> None:
        """Append the line of one epoch."""
        self._file.write(_line({**record, "seconds": round(seconds, 6)}))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(record: Mapping[str, Any]) -> str:
    plain: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in record.items()}
    plain["epoch"] = int(record["epoch"])
    return json.dumps(plain, allow_nan=False) + "\n"


def _epoch(text: str) -> int | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found.get("epoch") if isinstance(found, dict) else None
