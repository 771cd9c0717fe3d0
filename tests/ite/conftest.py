"""A small confounded problem with a constant effect, and settings under which networks train in a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

EFFECT = 2.0


@dataclass(frozen=True)
class Confounded:
    """x_1 raises both the chance of treatment and the outcome, so the naive difference is too large."""

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    treatment: NDArray[np.int64]
    effect: float = EFFECT

    @property
    def naive(self) -> float:
        return float(self.y[self.treatment == 1].mean() - self.y[self.treatment == 0].mean())

    @property
    def arguments(self) -> dict[str, Any]:
        return {"X": self.X, "y": self.y, "treatment": self.treatment}


def confounded(n: int = 600, seed: int = 0) -> Confounded:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    treatment = (rng.uniform(size=n) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    y = 3 + X[:, 0] + 0.5 * X[:, 1] + EFFECT * treatment + 0.3 * rng.normal(size=n)
    return Confounded(X, y, treatment)


@pytest.fixture(scope="session")
def problem() -> Confounded:
    return confounded()


@pytest.fixture(scope="session")
def small() -> Confounded:
    return confounded(80, seed=1)
