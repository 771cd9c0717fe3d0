"""Sections about this solver's own ratios: backward over forward, memory, call overhead, threads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import wbm_ext
from python_benchmarks._harness import Record, Store, Task, measure, threads
from python_benchmarks._problems import clouds, relative_error, residual, sharp_gradient
from python_benchmarks.peers import loops
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.subjects import GRADIENT
from python_benchmarks.peers.with_wbm import OURS

ROOT = Path(__file__).resolve().parents[2]
CALLS = {  # least work a call into torch can do, as a yardstick
    "torch logsumexp of 4 x 4": lambda D: torch.logsumexp(D, 1),
    "torch linalg.solve of 4 x 4": lambda D: torch.linalg.solve(D, D[0]),
}


def backward(options: Options) -> list[Task]:
    """Implicit backward of the sharp cost beside the forward it belongs to."""
    tasks = []
    for epsilon in options.pick((0.003, 0.01, 0.05), (0.05,)):
        for n in options.pick((64, 256, 512, 1024), (32,)):
            for kind, tol in (("float64", 1e-9), ("float32", 1e-6)):

                def run(
                    store: Store, epsilon: float = epsilon, n: int = n, kind: str = kind, tol: float = tol
                ) -> Record:
                    with threads(max(options.threads)):
                        return _backward(n, epsilon, kind, tol, options)

                tasks.append(Task(f"backward|eps={epsilon:g}, n={n}, {kind}|{OURS}", run))
    return tasks


def _backward(n: int, epsilon: float, kind: str, tol: float, options: Options) -> Record:
    problem = clouds(n, epsilon, 0, kind)
    D = torch.from_numpy(problem.D).requires_grad_()
    a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)

    def forward() -> wbm_ext.SinkhornResult:
        return wbm_ext.solve(D, a, b, epsilon=problem.epsilon, tol=tol, max_iter=options.limits.most)

    result = forward()
    (gradient,) = torch.autograd.grad(result.cost, D)
    plan = result.plan.detach().double().numpy()
    error = relative_error(gradient.double().numpy(), sharp_gradient(problem.D, plan, problem.epsilon))
    record: Record = {"residual": residual(plan, problem), "gradient_error": error}
    if error > GRADIENT[kind]:
        return record | {"wrong": f"gradient off by {error:.1e}"}
    kept = forward()
    times = {
        "forward": measure(forward, options.limits.budget),
        "backward": measure(lambda: torch.autograd.grad(kept.cost, D, retain_graph=True), options.limits.budget),
    }
    ratio = times["backward"].median / times["forward"].median
    return record | {
        "seconds": times["backward"].record(), "forward": times["forward"].record(), "ratio": ratio
    }  # fmt: skip


def memory(options: Options) -> list[Task]:
    """Peak memory of an unrolled forward and backward beyond D and dD, in a process of its own."""
    n, iterations = (128, 100) if options.quick else (1024, 1000)

    def run(store: Store) -> Record:
        command = [sys.executable, "-m", "python_benchmarks.peers.memory_probe", str(n), str(iterations)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
        return json.loads(done.stdout)

    return [Task(f"memory|n={n}, {iterations} iterations|{OURS}", run)]


def latency(options: Options) -> list[Task]:
    """A 4 x 4 problem from Python call to Python return."""
    D = torch.from_numpy(np.array(clouds(4, 0.05).D))
    epsilon = clouds(4, 0.05).epsilon
    leaf = D.clone().requires_grad_()

    def both() -> object:
        leaf.grad = None
        return wbm_ext.sinkhorn(leaf, epsilon=epsilon).backward()

    calls: dict[str, Callable[[], object]] = {
        "no gradient": lambda: wbm_ext.sinkhorn(D, epsilon=epsilon),
        "forward + backward": both,
    }

    def task(case: str, subject: str, call: Callable[[], object]) -> Task:
        def run(store: Store) -> Record:
            with threads(max(options.threads)):
                return {"seconds": measure(call, options.limits.budget, most=20_000, warm_up=50).record()}

        return Task(f"latency|{case}|{subject}", run)

    yardsticks = [task("no gradient", name, partial(f, D)) for name, f in CALLS.items()]
    return [task(case, OURS, call) for case, call in calls.items()] + yardsticks


def two_threads(options: Options) -> list[Task]:
    """Speed-up by a second thread over that of a multiply-add loop in registers."""
    n = 256 if options.quick else 1024

    def run(store: Store) -> Record:
        from python_benchmarks.peers.single import OURS as SOLVER

        solver = SOLVER.prepare(clouds(n, 0.05), 0.0, 100)
        times, yardstick = {}, {}
        for count in (1, 2, 1, 2):  # in turns, so that a drift of the clock meets both
            with threads(count):
                times.setdefault(count, []).append(measure(solver.call, options.limits.budget))
            yardstick.setdefault(count, []).append(loops.multiply_add_seconds(count, options.limits.budget))
        ours = np.mean([t.median for t in times[1]]) / np.mean([t.median for t in times[2]])
        theirs = float(np.mean(yardstick[1]) / np.mean(yardstick[2]))
        return {
            "seconds": times[2][-1].record(),
            "one_thread": times[1][-1].record(),
            "speed_up": float(ours),
            "loop_speed_up": theirs,
            "share": float(ours) / theirs,
        }

    return [Task(f"threads|n={n}|{OURS}", run)]
