"""``method="auto"`` beside plain iterations: what acceleration costs where it does not help; whether it is as exact.

The set is stated here and nowhere tuned: three kinds of cost, four shapes, six ε, four kinds of marginals, two
tolerances in float64. Problems whose plain solve takes 0.2 ms or less are counted apart.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np
import torch

import wbm_ext
from python_benchmarks._harness import Record, Store, Task, threads
from python_benchmarks._problems import squared_distances
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.with_wbm import OURS

SHAPES = ((64, 64), (128, 128), (256, 256), (41, 471))
EPSILONS = (0.2, 0.05, 0.02, 0.01, 0.005, 0.002)  # times the mean cost
KAPPAS = ((None, None), (1.0, 1.0), (0.05, 0.05), (None, 0.3))  # times the mean cost; None is hard
COSTS = ("32-D clouds", "2-D clouds", "uniform")
TOLERANCES = (1e-5, 1e-9)
MOST = 3000  # iterations of the plain solve
REPEATS = 3
LEAST = 0.2e-3  # s, of the plain solve


def cost(kind: str, n: int, m: int) -> np.ndarray:
    """D (n, m), float64, from a fixed seed."""
    rng = np.random.default_rng((n, m, COSTS.index(kind)))
    if kind == "uniform":
        return rng.random((n, m))
    k = 32 if kind == "32-D clouds" else 2
    return squared_distances(rng.standard_normal((n, k)), rng.standard_normal((m, k)) + 0.5)


def problems(quick: bool) -> Iterator[tuple[str, int, int, float, tuple[float | None, float | None], float]]:
    """(kind of cost, n, m, ε / mean, κ / mean of rows and columns, tol)."""
    shapes = SHAPES[:1] if quick else SHAPES
    epsilons = EPSILONS[:2] if quick else EPSILONS
    yield from ((c, n, m, e, k, t) for c, (n, m), e, k, t in product(COSTS, shapes, epsilons, KAPPAS, TOLERANCES))


def _pair(
    c: str, n: int, m: int, e: float, k: tuple[float | None, float | None], tol: float
) -> tuple[float, float, float, float]:
    """Seconds and residuals of the plain and of the accelerated solve, least of interleaved repeats."""
    D = torch.from_numpy(cost(c, n, m))
    mean = float(D.mean())
    kappa = tuple(float("inf") if x is None else x * mean for x in k)
    seconds = {"sinkhorn": float("inf"), "auto": float("inf")}
    residuals = {}
    for _ in range(REPEATS):
        for method in seconds:
            begin = time.perf_counter()
            result = wbm_ext.solve(D, epsilon=e * mean, kappa=kappa, tol=tol, max_iter=MOST, method=method)
            seconds[method] = min(seconds[method], time.perf_counter() - begin)
            residuals[method] = float(result.residual)
    return seconds["sinkhorn"], seconds["auto"], residuals["sinkhorn"], residuals["auto"]


def compare(options: Options) -> Record:
    """Percentiles of auto's time over plain's, and how many end above both tol and the plain residual."""
    ratios, short, worse = [], [], []
    with threads(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
        for problem in problems(options.quick):
            plain, auto, plain_residual, residual = _pair(*problem)
            (ratios if plain > LEAST else short).append(auto / plain)
            if residual > max(problem[-1], plain_residual):
                worse.append(list(problem))
    at = partial(np.percentile, ratios) if ratios else lambda q: float("nan")
    return {
        "problems": len(ratios) + len(short),
        "timed": len(ratios),
        "ratio": {str(q): float(at(q)) for q in (5, 25, 50, 75, 95, 100)},
        "short": {str(q): float(np.percentile(short, q)) for q in (50, 95)} if short else {},
        "worse": worse,
    }


def safeguard(options: Options) -> list[Task]:
    """One record for the whole set."""

    def run(store: Store) -> Record:
        return compare(options)

    return [Task(f"safeguard|auto over plain, one thread|{OURS}", run)]
