"""Section on point clouds, on CUDA: the cost matrix is part of the call, for some libraries never make one."""

from __future__ import annotations

import warnings
from typing import Any

import torch

import wbm_ext
from python_benchmarks._harness import Record, Store, Task
from python_benchmarks.peers import with_wbm
from python_benchmarks.peers.arrays import float64
from python_benchmarks.peers.clouds import Clouds, draw
from python_benchmarks.peers.loaded import load
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.registry import Peer, Run
from python_benchmarks.peers.single import present
from python_benchmarks.peers.subjects import to_residual
from wbm_ext import losses

EPSILON = 0.05  # in units of mean(D)
TARGET = 1e-4  # residual


def prepare(problem: Clouds, tolerance: float, iterations: int, device: str = "cpu") -> Run:
    """This solver: the cost matrix, then the solve."""
    x, y, a, b = (torch.from_numpy(z).to(device) for z in (problem.x, problem.y, problem.a, problem.b))
    method = "sinkhorn" if tolerance == 0 else "auto"

    def call() -> Any:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            D = losses.squared_distances(x, y)
            return wbm_ext.solve(D, a, b, epsilon=problem.epsilon, tol=tolerance, max_iter=iterations, method=method)

    return Run(call, lambda result: float64(result.plan))


OURS = Peer(with_wbm.OURS, "wbm_ext", "wbm_ext", prepare, order="rows")


def points(options: Options) -> list[Task]:
    """Two clouds to residual 1e-4 in float32."""
    tasks = []
    for n in options.pick((256, 1024, 4096), (64,)):
        for peer in (OURS, *present(load().points, options)):

            def run(store: Store, n: int = n, peer: Peer = peer) -> Record:
                return to_residual(peer, draw(n, EPSILON, options.first_seed), TARGET, options.limits)

            tasks.append(Task(f"points|n={n}, float32|{peer.name}", run))
    return tasks
