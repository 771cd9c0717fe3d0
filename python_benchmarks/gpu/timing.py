"""How calls are timed on a GPU: between events, as they stand or as the replay of a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from python_benchmarks import _harness as harness


def captured(call: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The call as a CUDA graph's replay, which returns what the call returned while it was captured.

    On "cpu" the call itself: only to try a benchmark without a GPU.
    """
    if device == "cpu":
        return call
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def timed(
    call: Callable[[], object], budget: float, device: str, least: int = 20, most: int = 500, warm_up: int = 3
) -> harness.Timing:
    """Time between two events around each call: as many as fit ``budget`` seconds, between ``least`` and ``most``.

    ``least`` gives way after four budgets, as in ``measure`` of the harness.
    """
    for _ in range(warm_up):
        call()
    samples: list[float] = []
    spent = 0.0
    while not samples or (len(samples) < most and spent < (budget if len(samples) >= least else 4 * budget)):
        samples.append(harness.elapsed(call, 1, device))
        spent += samples[-1]
    return harness.summarize(samples)
