"""Ranks of systems over several data sets, with intervals from a bootstrap over data sets and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from python_benchmarks._study import holm

Scores = Mapping[str, Mapping[str, Mapping[int, float]]]  # system -> data set -> run -> score, lower is better
DRAWS = 4000


@dataclass(frozen=True)
class Standing:
    """Where a system stands.

    Attributes
    ----------
    score : float
        Mean over the data sets of the mean over their runs.
    rank : int
        1 is the lowest score.
    low_rank, high_rank : float
        2.5 and 97.5 % of the bootstrap's ranks.
    difference, low, high, p, p_holm : float or None
        Ours minus this system with its 95 % interval; share of draws on the other side of 0, doubled; adjusted over
        all systems by Holm. None for ours.
    """

    system: str
    score: float
    rank: int
    low_rank: float
    high_rank: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None


def common(scores: Scores) -> tuple[dict[str, dict[str, dict[int, float]]], list[str]]:
    """Return the systems that have most runs of each data set, with the runs that all of them have; name the others.

    A system stays out that has less than half as many runs of some data set as another has.
    """
    most: dict[str, int] = {}
    for by_data in scores.values():
        for data, runs in by_data.items():
            most[data] = max(most.get(data, 0), len(runs))
    most = {data: count for data, count in most.items() if count}
    names = [
        system
        for system, by_data in scores.items()
        if all(2 * len(by_data.get(data, {})) >= count for data, count in most.items())
    ]
    shared = {data: set.intersection(*(set(scores[name][data]) for name in names)) for data in most} if names else {}
    kept = {
        name: {data: {run: scores[name][data][run] for run in sorted(runs)} for data, runs in shared.items() if runs}
        for name in names
    }
    return kept, [system for system in scores if system not in kept]


def standings(scores: Scores, ours: str, *, resample_data: bool = True, draws: int = DRAWS) -> list[Standing]:
    """Return the systems by score.

    A draw takes data sets with replacement, and runs within each with replacement, the same for all systems.

    Parameters
    ----------
    scores : mapping
        All systems with the same runs.
    ours : str
        The system that is compared with all others.
    resample_data : bool
        False: the data sets are as they are, and only runs are drawn; what then is told concerns these data alone.
    """
    systems = list(scores)
    names = list(scores[systems[0]])
    tables = [_table(scores, systems, name) for name in names]
    point = np.mean([table.mean(axis=1) for table in tables], axis=0)
    rng = np.random.default_rng(0)
    drawn = np.stack([_draw(tables, rng, resample_data) for _ in range(draws)])
    ranks = drawn.argsort(axis=1).argsort(axis=1) + 1
    place = systems.index(ours)
    gap = drawn[:, [place]] - drawn
    p = [None if system == ours else _two_sided(gap[:, k]) for k, system in enumerate(systems)]
    adjusted = holm(p)
    found = []
    for k, system in enumerate(systems):
        low, high = np.percentile(ranks[:, k], [2.5, 97.5])
        rank = int((point < point[k]).sum()) + 1
        if system == ours:
            found.append(Standing(system, float(point[k]), rank, float(low), float(high)))
            continue
        left, right = np.percentile(gap[:, k], [2.5, 97.5])
        difference = float(point[place] - point[k])
        found.append(
            Standing(
                *(system, float(point[k]), rank, float(low), float(high)),
                *(difference, float(left), float(right), p[k], adjusted[k]),
            )
        )
    return sorted(found, key=lambda one: one.score)


def _table(scores: Scores, systems: Sequence[str], data: str) -> NDArray[np.float64]:
    runs = sorted(scores[systems[0]][data])
    return np.array([[scores[system][data][run] for run in runs] for system in systems])


def _draw(tables: Sequence[NDArray], rng: np.random.Generator, resample_data: bool) -> NDArray[np.float64]:
    places = rng.integers(len(tables), size=len(tables)) if resample_data else range(len(tables))
    means = []
    for place in places:
        table = tables[place]
        means.append(table[:, rng.integers(table.shape[1], size=table.shape[1])].mean(axis=1))
    return np.mean(means, axis=0)


def _two_sided(gap: NDArray[np.float64]) -> float:
    below, above = ((side.sum() + 1) / (len(gap) + 1) for side in (gap <= 0, gap >= 0))
    return float(min(1.0, 2 * min(below, above)))
