"""How long cells take, and so how long a study will."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from python_benchmarks._study.cells import Cell
from python_benchmarks._study.ledger import Ledger


def duration(seconds: float) -> str:
    """Text of a length of time, to two units.

    >>> [duration(s) for s in (7.4, 190, 8040, 200000)]
    ['7 s', '3 min 10 s', '2 h 14 min', '55 h 33 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Durations:
    """Mean seconds of a cell by group, from the cells that are finished.

    Parameters
    ----------
    ledger : Ledger
    cells : iterable of Cell
        Those that are looked up; :meth:`add` takes further ones as they finish.
    """

    def __init__(self, ledger: Ledger, cells: Iterable[Cell] = ()) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._cold: dict[str, list[float]] = {}
        for cell in cells:
            record = ledger.get(cell)
            if record is not None:
                self.add(cell, record)

    def add(self, cell: Cell, record: Mapping[str, Any]) -> None:
        """Take the ``seconds`` of a finished cell; those of a ``cold`` one count where a group has no others."""
        times = self._cold if record.get("cold") else self._seconds
        times.setdefault(cell.group, []).append(record["seconds"])

    def untimed(self, cells: Sequence[Cell]) -> list[Cell]:
        """The first of ``cells`` of each group that has no time yet but a cold one."""
        first: dict[str, Cell] = {}
        for cell in cells:
            if cell.group not in self._seconds:
                first.setdefault(cell.group, cell)
        return list(first.values())

    def each(self, cell: Cell) -> float:
        """Expected seconds of a cell; where its group has no time, the mean of all."""
        times = self._seconds.get(cell.group) or self._cold.get(cell.group)
        times = times or [time for some in (self._seconds, self._cold) for group in some.values() for time in group]
        return sum(times) / len(times) if times else 0.0

    def remaining(self, cells: Iterable[Cell], jobs: int) -> float:
        """Expected seconds of all ``cells`` on ``jobs`` at a time."""
        expected = [self.each(cell) for cell in cells]
        return max(sum(expected) / jobs, max(expected, default=0.0))

    def describe(self, cells: Sequence[Cell], finished: int, jobs: int) -> str:
        """Sentences on what is open, group by group, and how long it will take."""
        groups = Counter(cell.group for cell in cells)
        example = {cell.group: cell for cell in cells}
        parts = [f"{name}: {count} x {self.each(example[name]):.1f} s" for name, count in groups.items()]
        length = duration(self.remaining(cells, jobs))
        head = f"{finished} cells are finished, {len(cells)} are open: about {length} on {jobs} job(s)"
        return f"{head} ({'; '.join(parts)})." if parts else f"{finished} cells are finished, none is open."
