"""Iterations that ``wbm_ext.losses.PotentialsCache`` saves in training: counts, not times.

    python -m python_benchmarks.warm_start [--out results/warm_start.json]

Four training runs on likelihood + WBM. At every step the same problem is solved from zero and from the cache, for each
method, tolerance and ε (in units of mean(D)), with a cache of its own each; both reach the same solution, so the run
itself is not touched. Reported: mean iterations (``method="auto"``: passes over the matrix) over the second half of the
steps, and the share of the batch's columns that the cache knew.

- whole sets: two 2-D clouds of 200, centres 1 apart, all samples in every step, fixed representation;
- mini-batches: two 2-D clouds of 2,000, 1 apart, batches of 256 + 256, fixed representation, eight epochs;
- mini-batches, far apart: the same 3 apart, so that potentials are large beside the noise of a batch;
- ratings: the model of ``_steps`` on Coat-shaped data, batches of 256 observed + 256 unobserved pairs, embeddings
  moving, eight epochs; an unobserved pair is rarely drawn twice, so its potential comes from a half-update.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import wbm_ext
from python_benchmarks import _harness as harness
from python_benchmarks import _steps as steps
from wbm_ext import losses

METHODS, TOLERANCES, EPSILONS = ("auto", "sinkhorn"), (1e-3, 1e-6), (0.2, 0.05, 0.01)
GRID = list(itertools.product(METHODS, TOLERANCES, EPSILONS))
MOST = 10_000


@dataclass(frozen=True, eq=False)
class Problem:
    """What a step of a run solves: D with mean 1, masses, and the samples behind rows and columns."""

    D: Tensor
    a: Tensor
    b: Tensor
    rows: Tensor
    columns: Tensor


def _masses(q: Tensor, treated: Tensor) -> tuple[Tensor, Tensor]:
    q = q.detach().clamp(steps.CLIP, 1 - steps.CLIP)
    return losses.inverse_propensity_masses(q[treated]), losses.inverse_propensity_masses(1 - q[~treated])


def _problem(q: Tensor, phi: Tensor, treated: Tensor, index: Tensor) -> Problem:
    D = losses.squared_distances(phi[treated], phi[~treated]).detach()
    return Problem(D / D.mean(), *_masses(q, treated), index[treated], index[~treated])


def clouds(size: int, batch: int, epochs: int, shift: float = 1.0) -> Iterator[Problem]:
    """A logistic propensity trained on likelihood + WBM for N(0, I) and N((shift, 0), I); treated come first."""
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(2 * size, 2, generator=rng)
    points[size:, 0] += shift
    model = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    treated = torch.arange(2 * batch) < batch
    for _ in range(epochs):
        orders = [torch.randperm(size, generator=rng).split(batch) for _ in range(2)]
        for own, other in zip(*orders, strict=True):
            if len(own) < batch:
                continue
            index = torch.cat([own, size + other])
            q = model(points[index])[:, 0].sigmoid()
            yield _problem(q, points[index], treated, index)
            optimizer.zero_grad()
            likelihood = torch.nn.functional.binary_cross_entropy(q, treated.to(q.dtype))
            (likelihood + losses.wbm(q, treated, points[index], **steps.OPTIONS)).backward()
            optimizer.step()


def ratings(shape: steps.Shape, pairs: int, k: int, epochs: int) -> Iterator[Problem]:
    """The rating model trained with WBM; a pair's index is its key."""
    data = steps.generate(shape)
    trainer = steps.Trainer(data, k, steps.wbm)
    for batch in steps.batches(data, pairs, epochs * (2 * len(data.keys) // pairs)):
        with torch.no_grad():
            phi = trainer.model(batch)[1]
            q = trainer.model.propensity(phi).sigmoid()
        yield _problem(q, phi, batch.observed, batch.keys)
        trainer.step(batch)


Run = tuple[Callable[[], Iterator[Problem]], int]  # problems, samples
RUNS: dict[str, Run] = {
    "whole sets": (lambda: clouds(200, 200, 100), 400),
    "mini-batches": (lambda: clouds(2_000, 256, 8), 4_000),
    "mini-batches, far apart": (lambda: clouds(2_000, 256, 8, shift=3.0), 4_000),
    "ratings": (lambda: ratings(steps.COAT, 512, 32, 8), steps.COAT.pairs),
}


def count(problems: Iterator[Problem], samples: int) -> list[harness.Record]:
    """Mean iterations from zero and from the cache over the second half of the steps, a record each of ``GRID``."""
    caches = {setting: losses.PotentialsCache(samples) for setting in GRID}
    found: dict[tuple, list[tuple[int, int, float]]] = {setting: [] for setting in GRID}
    for p in problems:
        for setting, cache in caches.items():
            method, tol, epsilon = setting
            options = {"epsilon": epsilon, "method": method, "tol": tol, "max_iter": MOST}
            known = float((~cache.g[p.columns].isnan()).double().mean())
            cold = wbm_ext.solve(p.D, p.a, p.b, **options)
            warm = cache.solve(p.D, p.a, p.b, rows=p.rows, columns=p.columns, **options)
            found[setting].append((int(cold.iterations), int(warm.iterations), known))
    records = []
    for (method, tol, epsilon), counts in found.items():
        late = counts[len(counts) // 2 :]
        cold, warm, known = (statistics.fmean(column) for column in zip(*late, strict=True))
        records.append({
            "method": method, "tol": tol, "epsilon": epsilon, "cold": cold, "warm": warm, "saved": 1 - warm / cold,
            "known": known, "steps": len(late),
        })  # fmt: skip
    return records


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.warm_start",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--out", type=Path, default=Path("results/warm_start.json"), metavar="FILE")
    line.add_argument("--run", action="append", choices=[*RUNS], help="may be given more than once; default all")
    options = line.parse_args(argv)
    content: harness.Record = {
        "benchmark": "warm_start",
        "date": str(datetime.date.today()),
        "machine": harness.machine(),
        "records": {},
    }
    for name in options.run or [*RUNS]:
        make, samples = RUNS[name]
        records = content["records"][name] = count(make(), samples)
        print(f"{name}: {records[0]['steps']} steps, {records[0]['known']:.0%} of the columns known")
        print(f"  {'method':10s}{'tol':>7s}{'epsilon':>9s}{'from zero':>11s}{'from cache':>12s}{'saved':>8s}")
        for r in records:
            line_ = f"  {r['method']:10s}{r['tol']:7.0e}{r['epsilon']:9.2f}"
            print(f"{line_}{r['cold']:11.1f}{r['warm']:12.1f}{r['saved']:8.0%}")
    harness.write_json(options.out, content)
    print("wrote", options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
