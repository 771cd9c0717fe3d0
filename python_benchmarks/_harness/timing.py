"""Times of a call: wall-clock seconds of a monotonic clock, or between events of a device, as median with quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch

from python_benchmarks._harness.records import Record

NOISE = 0.15  # quartile spread over median from which a note is made
SAMPLE = 20e-6  # seconds a sample lasts at least; shorter calls are looped


@dataclass(frozen=True)
class Timing:
    """Summary of one measurement; times in seconds for one call."""

    median: float
    q1: float
    q3: float
    repeats: int
    samples: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @property
    def spread(self) -> float:
        """(q3 - q1) / median."""
        return (self.q3 - self.q1) / self.median if self.median > 0 else 0.0

    def note(self) -> str:
        """A remark where the quartiles are wide, else nothing."""
        return f"noisy, quartiles {100 * self.spread:.0f} % apart" if self.spread > NOISE else ""

    def record(self, samples: bool = False) -> Record:
        """As JSON; ``samples`` keeps every one of them."""
        found = asdict(self) | ({"noise": self.note()} if self.note() else {})
        found["samples"] = list(self.samples)
        return found if samples else {key: value for key, value in found.items() if key != "samples"}


def summarize(samples: list[float]) -> Timing:
    """Median and quartiles (linear between the order statistics) of the seconds in ``samples``."""
    if len(samples) < 2:
        return Timing(samples[0], samples[0], samples[0], 1, tuple(samples))
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, q1, q3, len(samples), tuple(samples))


def measure(
    call: Callable[[], object],
    budget: float = 1.0,
    least: int = 5,
    most: int = 1000,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time ``call``: as many repeats as fit ``budget`` seconds, between ``least`` and ``most``.

    ``least`` gives way after four budgets, so a long call is timed once after its warm-up; calls shorter than 20 µs are
    looped inside a sample.
    """
    for _ in range(max(warm_up, 1)):
        begin = clock()
        call()
        first = clock() - begin
    loops = max(1, int(SAMPLE / first)) if first > 0 else 100
    samples: list[float] = []
    started = clock()
    while len(samples) < most:
        begin = clock()
        for _ in range(loops):
            call()
        end = clock()
        samples.append((end - begin) / loops)
        if end - started > (budget if len(samples) >= least else 4 * budget):
            break
    return summarize(samples)


def elapsed(call: Callable[[], object], loops: int = 1, device: str = "cpu") -> float:
    """Seconds of ``loops`` calls: by the monotonic clock, or on CUDA between two events of the current stream."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(loops):
            call()
        return time.perf_counter() - begin
    begin_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin_event.record()
    for _ in range(loops):
        call()
    end_event.record()
    end_event.synchronize()
    return begin_event.elapsed_time(end_event) / 1e3


def sample(call: Callable[[], object], least: float = SAMPLE, device: str = "cpu") -> float:
    """Mean seconds of one call over at least ``least`` seconds, after one call to warm up."""
    elapsed(call, 1, device)
    first = elapsed(call, 1, device)
    loops = int(least / max(first, 1e-9))
    return elapsed(call, loops, device) / loops if loops > 1 else first
