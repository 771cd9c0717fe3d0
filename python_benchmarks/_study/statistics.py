"""Means, spreads, paired differences and tests over the seeds of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

Sample = Mapping[int, float]  # seed -> value


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (ddof 1) and t-interval of the mean over seeds; one seed has no spread."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference(Summary):
    """Summary of differences seed by seed, and its tests.

    Attributes
    ----------
    t_p, wilcoxon_p : float or None
        Two-sided p of the paired t-test and of Wilcoxon's signed ranks (1 where all differences are 0).
    higher : int
        Seeds with a difference above 0.
    """

    t_p: float | None
    wilcoxon_p: float | None
    higher: int


def summarize(values: Iterable[float], level: float = 0.95) -> Summary:
    """Summarise values; the interval is mean ± t sd / sqrt(n)."""
    array = np.asarray(list(values), dtype=np.float64)
    if not len(array):
        raise ValueError("values must hold at least one number; got none")
    mean = float(array.mean())
    if len(array) < 2:
        return Summary(1, mean, None, None, None)
    sd = float(array.std(ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2, len(array) - 1)) * sd / math.sqrt(len(array))
    return Summary(len(array), mean, sd, mean - half, mean + half)


def paired(first: Sample, second: Sample, level: float = 0.95) -> Difference:
    """Compare two settings over the seeds that both have: first - second.

    Raises
    ------
    ValueError
        They share no seed.
    """
    seeds = sorted(set(first) & set(second))
    if not seeds:
        raise ValueError(f"first and second must share a seed; got {sorted(first)} and {sorted(second)}")
    values = np.array([first[seed] - second[seed] for seed in seeds])
    higher, t_p, wilcoxon_p = int((values > 0).sum()), None, None
    if len(values) > 1:
        flat = not values.any()
        constant = np.ptp(values) == 0
        t_p = 1.0 if flat else 0.0 if constant else float(stats.ttest_1samp(values, 0.0).pvalue)
        wilcoxon_p = 1.0 if flat else float(stats.wilcoxon(values).pvalue)
    return Difference(**asdict(summarize(values, level)), t_p=t_p, wilcoxon_p=wilcoxon_p, higher=higher)


def two_sample(first: Sample, second: Sample) -> float | None:
    """Two-sided p of Welch's t-test, which takes the seeds of the two for unrelated; None below two seeds each."""
    a, b = np.array(list(first.values())), np.array(list(second.values()))
    if min(len(a), len(b)) < 2:
        return None
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return 1.0 if a[0] == b[0] else 0.0
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number by Holm's steps; None stays None and does not count."""
    from statsmodels.stats.multitest import multipletests

    known = [value for value in p if value is not None]
    adjusted = iter(multipletests(known, method="holm")[1]) if known else iter(())
    return [None if value is None else float(next(adjusted)) for value in p]


@dataclass(frozen=True)
class Comparison:
    """A row against another in one metric, seed by seed; p-values adjusted over the table they stand in.

    ``kind``: what sort of rival it is; ``two_sample_p``: Welch's, for those who report that one.
    """

    row: str
    rival: str
    data: str
    metric: str
    difference: Difference
    kind: str = ""
    two_sample_p: float | None = None
    t_holm: float | None = None
    wilcoxon_holm: float | None = None


def adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """Put in Holm's p-values."""
    t = holm([one.difference.t_p for one in found])
    wilcoxon = holm([one.difference.wilcoxon_p for one in found])
    return [replace(one, t_holm=a, wilcoxon_holm=b) for one, a, b in zip(found, t, wilcoxon, strict=True)]
