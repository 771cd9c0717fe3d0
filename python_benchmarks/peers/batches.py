"""Section on batches: forward and backward of 256 problems, gradients checked against a float64 linear system."""

from __future__ import annotations

from functools import partial

import numpy as np

from python_benchmarks._harness import Record, Store, Task, threads
from python_benchmarks._problems import Problem, clouds, plain_plan, relative_error, residual, sharp_gradient
from python_benchmarks.peers import with_wbm
from python_benchmarks.peers.loaded import load
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.registry import BatchRun, Peer
from python_benchmarks.peers.single import present
from python_benchmarks.peers.subjects import GRADIENT, STRICTER, timing

TARGET = 1e-6
CHECKED = 8  # problems of the batch whose gradient is compared
ITERATIONS = 1000
REFERENCE = 3000  # float64 iterations, far beyond what ε = 0.05 mean(D) needs
NEAR = 1.5  # a float32 floor: a tolerance is accepted whose residual is this near to the best of all


def batch(options: Options) -> list[Task]:
    """256 problems of 32 x 32 in float32 to residual 1e-6; on CUDA 1,024 of 64 x 64."""
    size, n = (16, 16) if options.quick else (256, 32) if options.device == "cpu" else (1024, 64)
    tasks = []
    for loss in ("sharp", "regularized"):
        mine = Peer(
            with_wbm.OURS, "wbm_ext", "wbm_ext", partial(with_wbm.prepare_batch, loss=loss), loss=loss
        )  # fmt: skip
        for peer in (mine, *(p for p in present(load().batch, options) if p.loss == loss)):

            def run(store: Store, peer: Peer = peer) -> Record:
                with threads(max(options.threads)):
                    return gradient_race(peer, clouds(n, 0.05, options.first_seed, batch=size), options)

            tasks.append(Task(f"batch|{size} of {n} x {n}, {loss}|{peer.name}", run))
    return tasks


def expected_gradient(problem: Problem, loss: str) -> np.ndarray:
    """Gradient of the first problems in float64: P for the regularised value, else the implicit one."""
    part = Problem(problem.D[:CHECKED], problem.a[:CHECKED], problem.b[:CHECKED], problem.epsilon)
    plans = plain_plan(part, REFERENCE)
    if loss == "regularized":
        return plans
    return np.stack([sharp_gradient(D, P, problem.epsilon) for D, P in zip(part.D, plans, strict=True)])


def gradient_race(peer: Peer, problem: Problem, options: Options) -> Record:
    """Loosest tolerance that achieves the residual, or that comes near this peer's floor in float32; then the time."""
    expected = expected_gradient(problem, peer.loss)
    tried: list[tuple[Record, BatchRun]] = []
    for factor in STRICTER[:3] if peer.stops else (1.0,):
        run: BatchRun = peer.prepare(problem, factor * TARGET, ITERATIONS, options.device)
        plan, gradient = run.read(run.call())
        record: Record = {
            "residual": residual(plan, problem),
            "gradient_error": relative_error(gradient[:CHECKED], expected),
            "tolerance": factor * TARGET,
        }
        tried.append((record | {"reached": record["residual"] <= TARGET}, run))
        if record["residual"] <= TARGET or record["gradient_error"] > GRADIENT["float32"]:
            break
    floor = min(record["residual"] for record, _ in tried)
    record, run = next((r, c) for r, c in tried if r["reached"] or r["residual"] <= NEAR * floor)
    if record["gradient_error"] > GRADIENT["float32"]:
        return record | {"wrong": f"gradient off by {record['gradient_error']:.1e}"}
    return record | {"seconds": timing(run.call, options.limits).record()}
