"""ESCFR Table 3: Algorithm 1 (balanced) and Algorithm 2 (relaxed) against batch size, ε and κ."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import SHIFT, squared_distances
from python_benchmarks.complexity.cells import Checked, counted, timed
from python_benchmarks.complexity.certificate import ROUNDING, certify
from python_benchmarks.complexity.options import Options
from python_benchmarks.complexity.published import TABLE3
from wbm_ext.losses.discrepancy import Discrepancy
from wbm_ext.losses.relaxed import relaxed_transport

DIMENSIONS, TOLERANCE, MOST = 10, 1e-6, 1_000_000
FIXED = {"batch": 128.0, "epsilon": 1.0, "kappa": 1.0}  # what does not vary; the paper does not state its own


def draw(batch: int, run: int) -> tuple[np.ndarray, np.ndarray]:
    """Treated and untreated representations, half of the batch each: N(0.5, I) and N(0, I) in ten dimensions."""
    rng = np.random.default_rng((batch, run))
    n = batch // 2
    return rng.standard_normal((n, DIMENSIONS)) + SHIFT, rng.standard_normal((batch - n, DIMENSIONS))


def checked(device: str, batch: int, epsilon: float, kappa: float, run: int) -> Checked:
    x, y = draw(batch, run)
    points = [torch.from_numpy(z).to(device) for z in (x, y)]

    def call() -> Discrepancy:
        return relaxed_transport(*points, epsilon=epsilon, kappa=kappa, tol=TOLERANCE, max_iter=MOST)

    found = call()
    result = found.result
    assert result is not None
    masses = [np.full(len(z), 1.0 / len(z)) for z in (x, y)]
    f, g = (z.cpu().numpy() for z in (result.f, result.g))
    proof = certify(squared_distances(x, y), *masses, epsilon, kappa, f, g)
    wrong = []
    if not proof.residual <= TOLERANCE + ROUNDING:
        wrong.append(f"residual {proof.residual:.1e} above {TOLERANCE:g}")
    value = float(found.value.detach())
    if not abs(value - proof.cost) <= 1e-9 * proof.cost:
        wrong.append(f"value {value:.12g}, the plan's cost is {proof.cost:.12g}")
    return Checked(call, {"residual": proof.residual, "iterations": int(result.iterations)}, "; ".join(wrong))


def table(options: Options) -> list[Task]:
    """One task a published entry whose column is in the grid, on every device."""
    columns = {"batch": options.escfr_batches, "epsilon": options.epsilons, "kappa": options.kappas}
    return [
        _task(device, axis, algorithm, value, options)
        for device in options.devices
        for axis, algorithm in TABLE3
        for value in columns[axis]
    ]


def _task(device: str, axis: str, algorithm: str, value: float, options: Options) -> Task:
    chosen = FIXED | {axis: float(value)}
    batch, epsilon = int(chosen["batch"]), chosen["epsilon"]
    kappa = math.inf if algorithm == "Algorithm 1" else chosen["kappa"]

    def run(store: Store) -> Record:
        def draws() -> Iterator[Checked]:
            return (checked(device, batch, epsilon, kappa, index) for index in range(options.escfr_runs))

        fields = {"device": device, "axis": axis, "at": float(value), "subject": algorithm, "n": batch // 2,
                  "m": batch - batch // 2, "batch": batch, "epsilon": epsilon}  # fmt: skip
        record = timed(draws(), options.least / 4, device)
        passes = float(np.mean(record["iterations"]))
        return fields | record | counted(batch // 2, batch - batch // 2, passes, 8)

    expected = options.escfr_runs * (0.3 * options.least + 3e-8 * batch**2)
    return Task(f"escfr|{device}, {axis}={value:g}|{algorithm}", run, expected)
