"""One subject on one problem: checked against float64 first, then timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from python_benchmarks._harness import Record, Timing, elapsed, measure
from python_benchmarks._problems import Problem, misfit, plain_plan, relative_error, residual
from python_benchmarks.gpu.checks import poisoned
from python_benchmarks.gpu.timing import timed
from python_benchmarks.peers.registry import Peer, Run

MISFIT = {"float32": 1e-3, "float64": 1e-8}  # largest |log P + D/ε - f - g|
DISTANCE = {"float32": 1e-4, "float64": 1e-9}  # |P - reference|₁ after the same plain iterations
GRADIENT = {"float32": 1e-3, "float64": 1e-6}  # relative 1-norm error of a gradient that counts as true
STRICTER = (1.0, 1 / 3, 1 / 10, 1 / 30, 1 / 100)  # tolerances tried, in units of the residual asked for
PROBE = 20  # iterations that tell how long one takes
LEAST = 200  # iterations that are always allowed


@dataclass(frozen=True)
class Limits:
    """Seconds: ``budget`` for the repeats of one timing, ``cap`` for one call; iterations at most ``most``; where."""

    budget: float = 1.0
    cap: float = 20.0
    most: int = 200_000
    device: str = "cpu"


def timing(call: Callable[[], object], limits: Limits, least: int = 5) -> Timing:
    """By the monotonic clock; on CUDA between events, however long the host takes to launch."""
    if limits.device == "cpu":
        return measure(call, limits.budget, least)
    return timed(call, limits.budget, limits.device, least, warm_up=1)


def first_call(peer: Peer, run: Run, limits: Limits) -> tuple[np.ndarray, float]:
    """The plan of one call, and its seconds; this solver finds its outputs full of NaN."""
    results: list[Any] = []
    with poisoned() if peer.package == "wbm_ext" else nullcontext():
        spent = elapsed(lambda: results.append(run.call()), 1, limits.device)
    return run.plan(results[0]), spent


def check(plan: np.ndarray, problem: Problem, iterations: int = 0, order: str = "") -> Record:
    """Residual, form and, for plain iterations, distance from the float64 plan after as many; ``wrong`` says why."""
    kind = str(problem.D.dtype)
    record: Record = {"residual": residual(plan, problem), "misfit": misfit(plan, problem)}
    wrong = [] if record["misfit"] <= MISFIT[kind] else [f"not of the form exp((f + g - D)/ε): {record['misfit']:.1e}"]
    if order:
        record["distance"] = relative_error(plan, plain_plan(problem, iterations, order))
        if record["distance"] > DISTANCE[kind]:
            wrong.append(f"{record['distance']:.1e} from float64 after {iterations} iterations")
    return record | ({"wrong": "; ".join(wrong)} if wrong else {})


def fixed(peer: Peer, problem: Problem, iterations: int, limits: Limits) -> Record:
    """Time exactly ``iterations`` iterations (whatever a peer without that notion does for them)."""
    run: Run = peer.prepare(problem, 0.0, iterations, limits.device)
    record = check(first_call(peer, run, limits)[0], problem, iterations, peer.order)
    if "wrong" in record:
        return record
    note = {} if peer.order else {"note": "not plain iterations"}
    return record | note | {"seconds": timing(run.call, limits).record()}


def _allowed(peer: Peer, problem: Problem, limits: Limits) -> int:
    """Iterations that fit the cap on one call, from the time of a few."""
    most = limits.most if peer.stops else 1000
    run = peer.prepare(problem, 0.0, PROBE, limits.device)
    run.call()
    each = elapsed(run.call, 1, limits.device) / PROBE
    return int(min(most, max(LEAST, limits.cap / max(each, 1e-7))))


def to_residual(
    peer: Peer, problem: Problem, target: float, limits: Limits, repeats: bool = True, samples: bool = False
) -> Record:
    """Time a solve that achieves ``target``: under the loosest of the tolerances tried whose plan has that residual.

    Stopping rules differ, so a tolerance is not compared but what it achieves. Where none achieves it within the cap
    the record has ``reached: False`` with the best residual, the seconds of one such call and no timing. ``samples``
    keeps every time.
    """
    iterations = _allowed(peer, problem, limits)
    best: Record = {"residual": float("inf")}
    for factor in STRICTER if peer.stops else (1.0,):
        run: Run = peer.prepare(problem, factor * target, iterations, limits.device)
        plan, spent = first_call(peer, run, limits)
        record = check(plan, problem)
        if "wrong" in record:
            return record | {"reached": False}
        record |= {"reached": record["residual"] <= target, "tolerance": factor * target, "one_call": spent}
        if record["reached"]:
            found = timing(run.call, limits if repeats else replace(limits, budget=0.0), 5 if repeats else 1)
            return record | {"seconds": found.record(samples)}
        if record["residual"] < best["residual"]:
            best = record
        if spent > limits.cap or record["residual"] > 100 * target:
            break  # it ended at the cap or at a floor; a stricter test would end there too
    return best
