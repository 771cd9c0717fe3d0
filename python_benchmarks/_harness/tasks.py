"""Measurements one after another into a store: what is there is not measured again, what fails stops no other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from python_benchmarks._harness.records import Record, Store


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
