"""Gains of rows over rivals at the points of a map, with p adjusted over the whole map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from python_benchmarks._study.aggregate import Difference, holm

LEVEL = 0.05  # of Holm's adjusted p, from which a gain or a loss is taken for one


class Axis(Protocol):
    """One quantity that a map varies: its title for readers, its name, and its value at the base point."""

    @property
    def title(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def base(self) -> float: ...


@dataclass(frozen=True)
class Gain:
    """How much better ``row`` is than ``rival`` at one point (above 0: better); p adjusted over the whole map."""

    row: str
    rival: str
    axis: Any
    value: float
    difference: Difference
    p: float | None

    @property
    def sign(self) -> int:
        """1 a gain, -1 a loss, 0 neither at the level."""
        if self.p is None or self.p > LEVEL:
            return 0
        return 1 if self.difference.mean > 0 else -1

    @property
    def place(self) -> str:
        return place(self.axis, self.value)

    @property
    def test(self) -> tuple[str, ...]:
        return test_of(self.row, self.rival, self.axis, self.value)

    def record(self, row: str) -> dict[str, Any]:
        """As JSON, with the row under the name ``row``."""
        where = {row: self.row, "against": self.rival, "varied": self.axis.name, "value": self.value}
        return {**where, **self.difference.record(), "holm_p": self.p}


def place(axis: Axis, value: float) -> str:
    return "the base point" if value == axis.base else f"{axis.title} {value:g}"


def test_of(row: str, rival: str, axis: Axis, value: float) -> tuple[str, ...]:
    """What tells tests apart: points of different axes that fall on the base point are one."""
    return (row, rival, "base" if value == axis.base else f"{axis.name}={value}")


def adjusted(found: Iterable[tuple[str, str, Any, float, Difference]]) -> list[Gain]:
    """Gains from row, rival, axis, value and difference. What falls on the base point counts once in p."""
    found = list(found)
    once = {test_of(*one[:4]): one[4].t_p for one in found}
    p = dict(zip(once, holm(list(once.values())), strict=True))
    return [Gain(*one, p=p[test_of(*one[:4])]) for one in found]
