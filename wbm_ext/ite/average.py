"""An average effect with its standard error and interval."""

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
    method : {"bootstrap", "model", "doubly robust", None}
        Percentiles over refits on resampled units; the system's own inference; the influence function of the doubly
        robust estimate; no interval.
    standard_error : float or None
        Of ``value``, where the method has one.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    level: float = 0.95
    method: str | None = None
    standard_error: float | None = None

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f", standard error {self.standard_error:.3g}"
        if self.lower is None or self.upper is None:
            return f"{self.value:.4g}{error}"
        return f"{self.value:.4g} [{self.lower:.4g}, {self.upper:.4g}] ({self.level:.0%}, {self.method}{error})"
