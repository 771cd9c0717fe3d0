"""One harness for every benchmark: timing, machine, results that survive an interrupt, comparison of two runs.

Times are wall-clock seconds of a monotonic clock, given as median with quartiles. A run keeps each record the moment it
is measured (:class:`Store`, :class:`Journal`), so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import wbm_ext

Record = dict[str, Any]
NOISE = 0.15  # quartile spread over median from which a note is made
NOISY = 0.1  # share of noisy measurements from which a whole run is called noisy
BUSY = 0.7  # load average from which times are not to be believed
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


def fingerprint(setting: Record) -> str:
    """Short hash of a run's setting together with the compiled module: records of another build are never reused."""
    from wbm_ext import _native

    module = Path(_native.core.__file__).read_bytes()
    return hashlib.sha256(json.dumps(setting, sort_keys=True).encode() + module).hexdigest()[:16]


def write_json(path: Path, content: Record) -> None:
    """Write a whole file or nothing: into a neighbour first, then renamed. Lists of numbers take one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            text = json.dumps(content, indent=1)  # no string holds a bare line break, so only lists are matched
            file.write(
                re.sub(r"\[\n([^\[\]{}\"]*)\n *\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
            )
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Store:
    """Records by key, written to ``path`` after each; taken up again where setting and compiled module are the same."""

    def __init__(self, path: Path, head: Record, setting: Record) -> None:
        self.path = path
        self.content: Record = head | {"setting": setting, "fingerprint": fingerprint(setting), "records": {}}
        self.resumed = 0
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text())
            if found.get("fingerprint") == self.content["fingerprint"] and not found.get("complete"):
                self.content["records"] = found["records"]
                self.resumed = len(found["records"])

    @property
    def records(self) -> dict[str, Record]:
        return self.content["records"]

    def begin(self, key: str) -> None:
        """Note which task is under way, for whoever watches this process."""
        self.content["running"] = key
        write_json(self.path, self.content)

    def put(self, key: str, record: Record) -> None:
        self.content.pop("running", None)
        self.records[key] = record
        write_json(self.path, self.content)

    def finish(self) -> None:
        """Mark the run as complete: the next one starts anew."""
        self.content["complete"] = True
        write_json(self.path, self.content)


class Journal(Store):
    """A store whose records are lines of a file: each is written once, however many there are.

    The first line holds the fingerprint; a last line that an interrupt cut short is dropped.
    """

    def __init__(self, path: Path, head: Record, setting: Record) -> None:
        self.path = path
        print_ = fingerprint(setting)
        self.content = head | {"setting": setting, "fingerprint": print_, "records": {}}
        lines: list[Record] = []
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
        if lines and lines[0].get("fingerprint") == print_:
            self.content["records"] = {line["key"]: line["record"] for line in lines[1:]}
        self.resumed = len(self.records)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [{"fingerprint": print_}, *({"key": key, "record": record} for key, record in self.records.items())]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def put(self, key: str, record: Record) -> None:
        self.records[key] = record
        with self.path.open("a") as file:
            file.write(json.dumps({"key": key, "record": record}) + "\n")

    def finish(self) -> None:
        """Mark the run as complete: the next one starts anew."""
        self.content["complete"] = True
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Task:
    """One measurement under a key ``section|case|subject``; ``expected``: its seconds beside those of other tasks."""

    key: str
    run: Callable[[Store], Record]
    expected: float = 1.0


def unfinished(tasks: list[Task], store: Store) -> list[Task]:
    """Tasks that the store does not hold, or holds with an error that is not final."""
    found = {task.key: store.records.get(task.key, {"error": "not run"}) for task in tasks}
    return [task for task in tasks if "error" in found[task.key] and not found[task.key].get("final")]


def forecast(tasks: list[Task], store: Store) -> float:
    """Seconds that the unfinished tasks will take: as expected, times what the finished ones took over the expected."""
    took = [(record["took"], task.expected) for task in tasks if "took" in (record := store.records.get(task.key, {}))]
    pace = sum(x for x, _ in took) / sum(y for _, y in took) if took else 1.0
    return pace * sum(task.expected for task in unfinished(tasks, store))


class Lost(Exception):
    """A task has failed, and nothing can be run in this process any more."""


def run_tasks(
    tasks: list[Task],
    store: Store,
    quiet: bool = False,
    deadline: float = math.inf,
    marks: bool = False,
    lost: Callable[[], bool] = lambda: False,
) -> bool:
    """Run what the store does not have yet; False when interrupted (Ctrl-C), with all finished records kept.

    A task that fails is recorded with its error and does not stop the others; the next run tries it again. None begins
    after ``deadline`` (of ``time.monotonic()``). Every record gets the seconds that its task ``took``, checks included.
    ``marks``: the store says which task is under way. Raises :class:`Lost` where a task has failed and ``lost()`` is
    true; its error is final then.
    """
    open_tasks = unfinished(tasks, store)
    whole, left = (sum(task.expected for task in some) for some in (tasks, open_tasks))
    line = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, about {remaining} left"
    try:
        with tqdm(
            total=whole, initial=whole - left, bar_format=line, smoothing=0, disable=quiet, dynamic_ncols=True
        ) as bar:
            for task in open_tasks:
                if time.monotonic() >= deadline:
                    break
                bar.set_description_str(task.key.replace("|", ", "))
                if marks:
                    store.begin(task.key)
                begin = time.monotonic()
                try:
                    record = task.run(store)
                except Exception as error:
                    lines = str(error).strip().splitlines() or [""]
                    text = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
                    record = {"error": f"{type(error).__name__}: {text[:300]}"}
                gone = "error" in record and lost()
                final = {"final": True} if gone else {}
                store.put(task.key, record | {"took": round(time.monotonic() - begin, 3)} | final)
                if gone:
                    raise Lost(task.key)
                bar.update(task.expected)
    except KeyboardInterrupt:
        return False
    return True


def noise(result: Record) -> str:
    """What makes the times of a result doubtful: the load before it, and how many measurements are noisy."""
    times = [record["seconds"] for record in result["records"].values() if "seconds" in record]
    wide, machine = sum("noise" in time for time in times), result["machine"]
    remarks = []
    if machine["load"] > BUSY:
        remarks.append(f"load average {machine['load']} on {machine['cores']} cores before the run")
    if times and wide > NOISY * len(times):
        remarks.append(f"{wide} of {len(times)} measurements are noisy")
    return "; ".join(remarks)


def earlier(text: str) -> Record:
    """Argument type of ``--against``: an earlier result, read before any work."""
    try:
        found = json.loads(Path(text).read_text())
        if not isinstance(found["records"], dict):
            raise KeyError("records")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"expected a result's JSON file, got {text}: {error}") from None
    return found


def compare(new: Record, old: Record) -> list[Record]:
    """Records that both results have: seconds of each and old over new (above 1: the new one is faster)."""
    rows = []
    for key, record in new["records"].items():
        before, after = old["records"].get(key, {}).get("seconds"), record.get("seconds")
        if before and after:
            apart = after["q3"] < before["q1"] or after["q1"] > before["q3"]
            ratio = before["median"] / after["median"]
            rows.append({"key": key, "old": before["median"], "new": after["median"], "ratio": ratio, "apart": apart})
    return rows
