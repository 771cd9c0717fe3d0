"""One cell of a study: every draw of the data is solved, checked, and only then timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scipy import stats

from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record

LEVEL = 0.999  # of the intervals of a mean, as in WBM Fig. 6


@dataclass(frozen=True)
class Checked:
    """A call on one draw: ``call`` is timed, ``found`` says what it did, ``wrong`` why it is not to be timed."""

    call: Callable[[], object]
    found: Record
    wrong: str = ""


def half_width(samples: list[float], level: float = LEVEL) -> float:
    """Half of Student's interval of the mean; infinite for a single sample."""
    if len(samples) < 2:
        return math.inf
    scale = statistics.stdev(samples) / math.sqrt(len(samples))
    return float(stats.t.ppf(0.5 + level / 2, len(samples) - 1)) * scale


def spread(samples: list[float]) -> Record:
    """Mean, standard deviation and half of the interval of the mean."""
    sd = statistics.stdev(samples) if len(samples) > 1 else 0.0
    return {"mean": statistics.fmean(samples), "sd": sd, "half": half_width(samples) if len(samples) > 1 else None}


def timed(draws: Iterator[Checked], least: float, device: str) -> Record:
    """Time of each draw: the mean of two samples, whose difference tells the noise (draws differ by themselves).

    The record holds the worst residual and gradient error and the iterations of every draw; where a draw is wrong
    there is no time.
    """
    samples: list[float] = []
    pairs: list[tuple[float, float]] = []
    found: list[Record] = []
    for draw in draws:
        if draw.wrong:
            return draw.found | {"wrong": draw.wrong}
        first, second = (harness.sample(draw.call, least / 2, device) for _ in range(2))
        pairs.append((first, second))
        samples.append((first + second) / 2)
        found.append(draw.found)
    time = harness.summarize(samples).record(samples=True) | spread(samples) | {"pairs": pairs}
    time.pop("noise", None)
    apart = statistics.median(abs(x - y) / (x + y) * 2 for x, y in pairs)
    if apart > harness.NOISE:
        time["noise"] = f"noisy, two samples of one draw {apart:.0%} apart"
    record: Record = {"seconds": time}
    for name in found[0]:
        values = [each[name] for each in found]
        record[name] = values if name == "iterations" else max(values)
    return record


def counted(n: int, m: int, passes: float, size: int) -> Record:
    """Bytes and operations of so many passes over an n x m matrix of ``size`` bytes an entry.

    A pass reads the matrix once and does two multiply-adds an entry, one for the row sums and one for the column sums.
    """
    return {"bytes": passes * n * m * size, "multiply_adds": 2.0 * passes * n * m}
