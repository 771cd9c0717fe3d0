"""Sections of a run on CUDA: the same iterations in a graph, and the same residual, one problem and batches.

Every problem is drawn from the run's own seed, every result checked in float64 before it is timed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import clouds
from python_benchmarks.gpu.timing import captured
from python_benchmarks.peers import with_torch
from python_benchmarks.peers.loaded import load
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.registry import Peer, Run
from python_benchmarks.peers.single import OURS, present
from python_benchmarks.peers.subjects import fixed, to_residual

EPSILON = 0.05  # in units of mean(D)
TARGETS = {"float32": 1e-5, "float64": 1e-9}  # residual
ITERATIONS = 100
SIZES, QUICK = (64, 128, 256, 512, 1024), (64,)
BATCHES, QUICK_BATCHES = ((1024, 64), (64, 256)), ((16, 32),)  # problems, n = m
IN_GRAPH = "in a CUDA graph"


def in_graph(peer: Peer) -> Peer:
    """The same with its call captured, so that nothing is left of the host's time."""

    def prepare(*arguments: Any) -> Run:
        run: Run = peer.prepare(*arguments)
        return Run(captured(run.call, arguments[-1]), run.plan)

    return dataclasses.replace(peer, name=f"{peer.name}, {IN_GRAPH}", prepare=prepare)


def iterations(options: Options) -> list[Task]:
    """100 plain iterations in float32 as a CUDA graph: this solver, and a loop of compiled steps in torch."""
    theirs = [p for p in present(load().single, options) if p.name == with_torch.NAME]
    tasks = []
    for n in options.pick(SIZES, QUICK):
        for peer in map(in_graph, (OURS, *theirs)):

            def run(store: Store, n: int = n, peer: Peer = peer) -> Record:
                return fixed(peer, clouds(n, EPSILON, options.first_seed), ITERATIONS, options.limits)

            name = OURS.name if peer.package == OURS.package else peer.name
            tasks.append(Task(f"graph|n={n}, float32|{name}", run))
    return tasks


def _race(case: str, peers: list[Peer], draw: Callable[[], Any], target: float, options: Options) -> list[Task]:
    def task(peer: Peer) -> Task:
        def run(store: Store) -> Record:
            return to_residual(peer, draw(), target, options.limits)

        return Task(f"residual|{case}|{peer.name}", run)

    return [task(peer) for peer in (OURS, *peers)]


def residual(options: Options) -> list[Task]:
    """One problem in float32 to 1e-5 and in float64 to 1e-9; batches in float32."""
    peers, tasks = present(load().single, options), []
    alone, many = [p for p in peers if p.single], [p for p in peers if p.many]
    for n in options.pick(SIZES, QUICK):
        for kind, target in TARGETS.items():

            def one(n: int = n, kind: str = kind) -> Any:
                return clouds(n, EPSILON, options.first_seed, kind)

            tasks += _race(f"n={n}, {kind}", alone, one, target, options)
    for count, n in options.pick(BATCHES, QUICK_BATCHES):

        def batch(count: int = count, n: int = n) -> Any:
            return clouds(n, EPSILON, options.first_seed, "float32", count)

        tasks += _race(f"{count} of {n} x {n}, float32", many, batch, TARGETS["float32"], options)
    return tasks
