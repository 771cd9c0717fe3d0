"""Growth exponents of the times, and the goals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scipy import stats

from python_benchmarks._harness import Record
from python_benchmarks.complexity.options import Options, power

LEVEL = 0.95
Records = dict[str, Record]
SECONDS = {0.05: 1e-3, 0.01: 3e-3}  # ε over mean(D): seconds of value and gradient at the tightest τ, two CPU cores
FLAT = 4.0  # time at the tightest τ over that at the loosest


@dataclass(frozen=True)
class Exponent:
    """time ∝ quantity^value for one series; low and high bound it at 95 %."""

    device: str
    subject: str
    quantity: str
    series: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """A goal beside what was measured."""

    case: str
    what: str
    value: float
    goal: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.goal


def section(records: Records, name: str) -> list[Record]:
    """Records of a section that were timed."""
    return [record for key, record in records.items() if key.startswith(f"{name}|") and "seconds" in record]


def fit(points: list[tuple[float, list[float]]]) -> tuple[float, float, float] | None:
    """Slope of log time over log quantity by least squares over every sample, with Student's interval.

    None with fewer than two quantities or three samples.
    """
    pairs = [(math.log(x), math.log(y)) for x, samples in points for y in samples]
    if len({x for x, _ in pairs}) < 2 or len(pairs) < 3:
        return None
    found = stats.linregress(*zip(*pairs, strict=True))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(pairs) - 2)) * float(found.stderr)
    return float(found.slope), float(found.slope) - half, float(found.slope) + half


def exponents(records: Records, options: Options) -> list[Exponent]:
    """In B (upper half of the sizes, where calls cost little beside work), in 1/τ, and in k at the largest B."""
    rows = section(records, "wbm")
    upper = sorted({r["batch"] for r in rows})[-max(3, len(options.batches) // 2) :]
    found: list[Exponent] = []

    def add(quantity: str, series: str, chosen: list[Record], at: Callable[[Record], float]) -> None:
        if chosen and (line := fit([(at(r), r["seconds"]["samples"]) for r in chosen])):
            found.append(Exponent(chosen[0]["device"], chosen[0]["subject"], quantity, series, *line))

    for device, subject in dict.fromkeys((r["device"], r["subject"]) for r in rows):
        mine = [r for r in rows if (r["device"], r["subject"]) == (device, subject)]
        tight = [r for r in mine if r["tau"] == options.tight]
        for k in sorted({r["k"] for r in mine}):
            by_batch = [r for r in tight if r["k"] == k and r["batch"] in upper]
            add("B", f"k = {k}, B = {upper[0]} to {upper[-1]}", by_batch, lambda r: r["batch"])
            by_tau = [r for r in mine if r["k"] == k and r["batch"] == options.tau_batch]
            add("1/τ", f"k = {k}, B = {options.tau_batch}", by_tau, lambda r: 1 / r["tau"])
        largest = [r for r in tight if r["batch"] == upper[-1]]
        add("k", f"B = {upper[-1]}", largest, lambda r: r["k"])
    return found


def verdicts(records: Records, options: Options) -> Iterator[Verdict]:
    """Goals for value and gradient on the CPU: seconds at the tightest τ, and how flat the time is in τ."""
    times = {
        ((r["n"], r["m"]), r["relative_epsilon"], r["tau"]): r["seconds"]["median"]
        for r in section(records, "goal")
        if r["device"] == "cpu"
    }
    loose, tight = max(options.goal_taus), min(options.goal_taus)
    for shape in options.goal_shapes:
        for relative, goal in SECONDS.items():
            case = f"{shape[0]} x {shape[1]}, k = {options.goal_dimension}, ε = {relative:g} mean(D)"
            if (shape, relative, tight) not in times:
                continue
            last = times[shape, relative, tight]
            yield Verdict(case, f"value + gradient to residual {power(tight)}", last, goal, "s")
            if (shape, relative, loose) in times:
                flat = last / times[shape, relative, loose]
                yield Verdict(case, f"time at τ = {power(tight)} over that at {power(loose)}", flat, FLAT, "")
