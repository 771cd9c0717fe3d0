"""WBM Fig. 6 and the goals: time of a value and of value and gradient against B, k and τ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import SHIFT, relative_error, squared_distances
from python_benchmarks.complexity import certificate
from python_benchmarks.complexity.cells import Checked, counted, timed
from python_benchmarks.complexity.options import Options
from wbm_ext.losses.balancing import Balance, balance

VALUE, BOTH = "value", "value + gradient"
RELATIVE = 0.05  # ε over mean(D) in Fig. 6's cells: the loss's default
MOST = 1_000_000  # iterations; none of the problems comes near
GRADIENT = (1e-7, 10.0)  # relative error allowed: the larger of the first and of the second times τ


@dataclass(frozen=True)
class Cell:
    """One point: n treated and m other samples, k dimensions, threshold, ε over mean(D), what is timed."""

    device: str
    n: int
    m: int
    k: int
    tau: float
    relative: float
    subject: str

    def fields(self) -> Record:
        return {"device": self.device, "n": self.n, "m": self.m, "batch": self.n + self.m, "k": self.k,
                "tau": self.tau, "relative_epsilon": self.relative, "subject": self.subject}  # fmt: skip


def draw(n: int, m: int, k: int, run: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q, treated, φ): n samples around 0.5 along every axis, m around 0, unit variance; q uniform in [0.2, 0.8]."""
    rng = np.random.default_rng((n, m, k, run))
    treated = rng.permutation(n + m) < n
    phi = rng.standard_normal((n + m, k)) + SHIFT * treated[:, None]
    return rng.uniform(0.2, 0.8, n + m), treated, phi


def checked(cell: Cell, run: int) -> Checked:
    """The call on one draw, its result held against the definition in float64."""
    q, treated, phi = draw(cell.n, cell.m, cell.k, run)
    D = squared_distances(phi[treated], phi[~treated])
    a, b = certificate.inverse_masses(q, treated)
    epsilon = cell.relative * float(D.mean())
    propensity, treatment, representation = (torch.from_numpy(x).to(cell.device) for x in (q, treated, phi))
    backward = cell.subject == BOTH
    propensity.requires_grad_(backward)

    def call() -> Balance:
        propensity.grad = None
        found = balance(propensity, treatment, representation, epsilon=epsilon, tol=cell.tau, max_iter=MOST)
        if backward:
            found.value.backward()
        return found

    found = call()
    result = found.result
    assert result is not None
    f, g = (x.detach().cpu().numpy() for x in (result.f, result.g))
    proof = certificate.certify(D, a, b, epsilon, math.inf, f, g)
    record: Record = {"residual": proof.residual, "iterations": int(result.iterations)}
    wrong = []
    if not proof.residual <= cell.tau + certificate.ROUNDING:
        wrong.append(f"residual {proof.residual:.1e} above {cell.tau:g}")
    value = float(found.value.detach())
    if not abs(value - proof.cost) <= 1e-9 * proof.cost:
        wrong.append(f"value {value:.12g}, the plan's cost is {proof.cost:.12g}")
    if backward and propensity.grad is not None:
        expected = certificate.propensity_gradient(D, proof.plan, q, treated)
        record["gradient_error"] = relative_error(propensity.grad.cpu().numpy(), expected)
        if not record["gradient_error"] <= max(GRADIENT[0], GRADIENT[1] * cell.tau):
            wrong.append(f"gradient off by {record['gradient_error']:.1e}")
    return Checked(call, record, "; ".join(wrong))


def measure(cell: Cell, options: Options) -> Record:
    def draws() -> Iterator[Checked]:
        return (checked(cell, run) for run in range(options.runs))

    record = timed(draws(), options.least, cell.device)
    passes = float(np.mean(record["iterations"]))
    return cell.fields() | record | counted(cell.n, cell.m, passes, 8)


def _task(section: str, cell: Cell, options: Options) -> Task:
    case = f"{cell.device}, {cell.n} x {cell.m}, k={cell.k}, eps={cell.relative:g}, tau={cell.tau:g}"

    def run(store: Store) -> Record:
        return measure(cell, options)

    return Task(f"{section}|{case}|{cell.subject}", run, expected(cell, options))


def expected(cell: Cell, options: Options) -> float:
    """Seconds of a cell on a core of 3 GHz: two samples, some passes of the check, its linear system of order n + m."""
    solves = 2e-7 * cell.n * cell.m
    system = 5e-11 * (cell.n + cell.m) ** 3 if cell.subject == BOTH else 0.0
    return options.runs * (1.3 * options.least + solves + system)


def figure(options: Options) -> list[Task]:
    """B at the tightest τ and τ at one B, small B first; half of a batch is treated."""
    tasks: dict[str, Task] = {}
    pairs = [(B, options.tight) for B in options.batches] + [(options.tau_batch, tau) for tau in options.taus]
    for B, tau in sorted(pairs, key=lambda pair: pair[0]):
        for device in options.devices:
            for subject in (VALUE, BOTH):
                for k in options.dimensions:
                    task = _task("wbm", Cell(device, B // 2, B - B // 2, k, tau, RELATIVE, subject), options)
                    tasks[task.key] = task
    return list(tasks.values())


def goals(options: Options) -> list[Task]:
    """The shapes and strengths that goals are set for, at the loosest and the tightest τ."""
    return [
        _task("goal", Cell(device, n, m, options.goal_dimension, tau, relative, BOTH), options)
        for device in options.devices
        for n, m in options.goal_shapes
        for relative in (0.05, 0.01)
        for tau in options.goal_taus
    ]
