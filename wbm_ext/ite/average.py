"""An average effect with its interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AverageEffect:
    """Mean of the estimated effects over given units.

    Attributes
    ----------
    value : float
        In units of the outcome; ``float(effect)`` gives it too.
    lower, upper : float or None
        Ends of the interval; None where the system has none and no bootstrap was run.
    level : float
        Nominal coverage.
    method : {"bootstrap", "model", None}
        Percentiles over refits on resampled units; the system's own inference; no interval.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    level: float = 0.95
    method: str | None = None

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if self.lower is None or self.upper is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.lower:.4g}, {self.upper:.4g}] ({self.level:.0%}, {self.method})"
