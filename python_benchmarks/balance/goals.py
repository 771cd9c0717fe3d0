"""What the study has to show, one verdict a line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from python_benchmarks.balance.study import EPSILONS, LEAST_SHARE, NLL, REDUCTION, SHIFTS, SIZE, Weighting

Found = dict[tuple[str, float], Weighting]  # by name and shift


@dataclass(frozen=True)
class Verdict:
    """One claim, the figure for it, and whether it holds."""

    claim: str
    value: str
    met: bool


def wbm_name(epsilon: float) -> str:
    return f"WBM, epsilon {epsilon:g} x mean(D)"


def reduction(found: Found, shift: float, epsilon: float) -> float:
    """1 - exact discrepancy after WBM over the smaller one of the NLL propensities."""
    least = min(found[name, shift].discrepancy for name in NLL)
    return 1 - found[wbm_name(epsilon), shift].discrepancy / least


def rising(values: list[float]) -> bool:
    return all(low < high for low, high in pairwise(values))


def verdicts(found: Found) -> list[Verdict]:
    """Fig. 2's two claims for each NLL propensity, Fig. 3's two at every shift and ε."""
    lines = []
    for name in NLL:
        for what in ("accuracy", "discrepancy"):
            values = [getattr(found[name, shift], what) for shift in SHIFTS]
            text = " ".join(f"{value:.3g}" for value in values)
            lines.append(Verdict(f"{name}: {what} grows with the shift", text, rising(values)))
    for shift in SHIFTS:
        for epsilon in EPSILONS:
            gain, sizes = reduction(found, shift, epsilon), found[wbm_name(epsilon), shift].ess
            where = f"shift {shift:g}, epsilon {epsilon:g}"
            lines.append(Verdict(f"{where}: reduced by {REDUCTION:.0%} at least", f"{gain:.1%}", gain >= REDUCTION))
            enough = min(sizes) >= LEAST_SHARE * SIZE
            lines.append(
                Verdict(
                    f"{where}: ESS of both sides at least {LEAST_SHARE * SIZE:g}",
                    f"{sizes[0]:.1f} and {sizes[1]:.1f}",
                    enough,
                )
            )
    return lines
