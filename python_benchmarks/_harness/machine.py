"""The machine: its cores and threads for a measurement, and what a result says of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

import wbm_ext
from python_benchmarks._harness.records import Record


def cores(count: int) -> list[int]:
    """``count`` of the processors this process may use, one of every core before the second of any."""
    allowed = sorted(os.sched_getaffinity(0))
    turn: dict[int, int] = {}
    seen: dict[str, int] = {}
    for cpu in allowed:
        siblings = str(cpu)
        with contextlib.suppress(OSError):
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        turn[cpu] = seen[siblings] = seen.get(siblings, -1) + 1
    return sorted(sorted(allowed, key=lambda cpu: (turn[cpu], cpu))[:count])


@contextlib.contextmanager
def pinned(count: int) -> Iterator[list[int]]:
    """All threads of this process on ``count`` cores within the block, also those that start in it.

    Gives the processors chosen; none where the system has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before, chosen = os.sched_getaffinity(0), cores(count)

    def pin(processors: Iterable[int]) -> None:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended
                os.sched_setaffinity(int(task.name), processors)

    pin(chosen)
    try:
        yield chosen
    finally:
        pin(before)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """``count`` threads for torch, this solver and numpy's BLAS within the block.

    Threads are not pinned here: see :func:`pinned`, or set the affinity outside, e.g. ``taskset -c 0,1``. JAX takes the
    cores that the process may use and cannot be told otherwise once it has started.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError):
                from threadpoolctl import threadpool_limits

                stack.enter_context(threadpool_limits(count, user_api="blas"))
            yield
    finally:
        torch.set_num_threads(before)


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Installed version of a distribution, None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(packages: Iterable[str] = ()) -> Record:
    """What was measured on and with, and the load average before; neither host names nor paths."""
    names = ("torch", "numpy", *packages)
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "build": {key: value for key, value in wbm_ext.build_info().items() if key != "threads"},
        "versions": {name: version(name) for name in names},
    }


def commit() -> str | None:
    """Commit of the checkout, with "+ changes" where tracked files differ from it; None outside a checkout."""
    run = partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    try:
        head = run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head} + changes" if changed else head
