"""A small confounded problem with a constant effect of 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wbm_ext.datasets import make_treatments


@dataclass(frozen=True)
class Confounded:
    """Units of which those with larger outcomes are treated more often, so that the naive difference is too large."""

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    treatment: NDArray[np.int64]
    effect: float

    @property
    def naive(self) -> float:
        return float(self.y[self.treatment == 1].mean() - self.y[self.treatment == 0].mean())

    @property
    def arguments(self) -> dict[str, Any]:
        return {"X": self.X, "y": self.y, "treatment": self.treatment}


def confounded(n: int, seed: int) -> Confounded:
    data = make_treatments(n, 4, surface="linear", treated=0.4, heterogeneity=0.0, noise=0.3, random_state=seed)
    return Confounded(data.X, data.y, data.treatment, data.ate())


@pytest.fixture(scope="session")
def problem() -> Confounded:
    return confounded(600, seed=0)


@pytest.fixture(scope="session")
def small() -> Confounded:
    return confounded(80, seed=1)
