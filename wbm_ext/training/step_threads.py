"""How many threads a fit's steps compute on: one, unless torch's own number is measured to be faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

SHORT_STEP = 2e-3
"""Seconds on one thread below which a step's operations are too short to share, whatever the machine is doing."""
_TIMED = 8  # steps on each number of threads, after one that is not timed
_FASTER = 0.9  # of the time on one thread; nearer to it, waits beside busy processes cost more than is gained


class StepThreads:
    """Runs steps on one thread of torch or on all it has, by the times of the first few.

    The first steps run on one thread. Where they take :data:`SHORT_STEP` or longer, the next ones run on torch's
    number of threads, and the fit keeps what took less time. Short operations gain nothing from a second thread, and
    every one of them waits for it; where another process has the processor, for milliseconds.

    Outside ``with``, torch has the number of threads that it had. Steps give the same bits on any number of threads,
    unless torch splits one long sum over them.

    Parameters
    ----------
    measured : bool
        False: torch's number of threads throughout.
    clock : callable () -> float
        Seconds.

    Examples
    --------
    >>> from wbm_ext.training.step_threads import StepThreads
    >>> with StepThreads() as threads:
    ...     threads.run(lambda: torch.get_num_threads())
    1
    """

    def __init__(self, measured: bool = True, clock: Callable[[], float] = time.perf_counter) -> None:
        self._all = torch.get_num_threads()
        self._clock = clock
        self._times: dict[int, list[float]] = {1: [], self._all: []}
        self.chosen = None if measured and self._all > 1 else self._all
        """The number of threads that was found to be best, None before it is known."""

    def __enter__(self) -> StepThreads:
        self._before = torch.get_num_threads()
        if self.chosen is not None:
            torch.set_num_threads(self.chosen)
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)

    def run(self, step: Callable[[], Result]) -> Result:
        """Return ``step()``, computed on the threads that are best or being measured."""
        if self.chosen is not None:
            return step()
        count = 1 if len(self._times[1]) <= _TIMED else self._all
        torch.set_num_threads(count)
        begin = self._clock()
        result = step()
        self._times[count].append(self._clock() - begin)
        self._choose()
        return result

    def _choose(self) -> None:
        one, several = (times[1:] for times in (self._times[1], self._times[self._all]))
        if len(one) < _TIMED:
            return
        if min(one) < SHORT_STEP:
            self.chosen = 1
        elif len(several) == _TIMED:
            self.chosen = self._all if sum(several) < _FASTER * sum(one) else 1
        if self.chosen is not None:
            torch.set_num_threads(self.chosen)
