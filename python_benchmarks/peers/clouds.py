"""Problems given by their points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from python_benchmarks._problems import DIMENSION, SHIFT, Problem, squared_distances


@dataclass(frozen=True, eq=False)
class Clouds(Problem):
    """A balanced problem and where its cost comes from.

    Attributes
    ----------
    x, y : ndarray (n, k), (m, k)
        float32; D holds their squared distances, computed in float64 and rounded.
    """

    x: np.ndarray
    y: np.ndarray


@lru_cache(maxsize=2)
def draw(n: int, epsilon: float, seed: int) -> Clouds:
    """N(0, I) against N(0.5, I) in 32 dimensions, n points each, uniform masses; ``epsilon`` in units of mean(D)."""
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((n, DIMENSION)).astype(np.float32) for _ in range(2))
    y = y + np.float32(SHIFT)
    D = squared_distances(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    mass = np.full(n, 1.0 / n, dtype=np.float32)
    return Clouds(D, mass, mass.copy(), epsilon * float(D.mean(dtype=np.float64)), x, y)
