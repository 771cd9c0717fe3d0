"""Running cells: side by side, each kept when it is finished, within a budget."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
import torch
from tqdm import tqdm

from python_benchmarks import _harness as harness
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.durations import Durations, duration
from python_benchmarks._study.engines import cores, engine
from python_benchmarks._study.ledger import Ledger
from wbm_ext.parameters import check_integer, check_number

Evaluate = Callable[[Cell], Mapping[str, Any]]
_begun: list[bool] = []  # holds something once this process has finished a cell: imports and caches are behind it


@dataclass
class Outcome:
    """What became of a list of cells.

    Attributes
    ----------
    done : list of Cell
        In the ledger, from this run or an earlier one.
    failed : {Cell: str}
        With their errors.
    cut : list of Cell
        Left out, for the budget or because the run was interrupted.
    interrupted : bool
        By Ctrl-C.
    """

    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    cut: list[Cell] = field(default_factory=list)
    interrupted: bool = False


def _one(evaluate: Evaluate, cell: Cell, threads: int) -> tuple[Cell, dict[str, Any]]:
    """Evaluate a cell in a worker; an error becomes its result, warnings are kept with it."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, harness.threads(threads):
        try:
            result = _checked(cell, dict(evaluate(cell)))
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
    result["seconds"] = time.perf_counter() - start
    if not _begun:
        result["cold"] = True
        _begun.append(True)
    texts = sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught})
    return cell, result | ({"warnings": texts} if texts else {})


def _checked(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result as JSON holds it (NaN and inf as None), with what its purpose asks for and no more.

    Raises
    ------
    TypeError, ValueError
        Something JSON cannot hold; no ``metrics``; in a search no finite ``validation``, or metrics that nothing may be
        chosen by.
    """
    plain: dict[str, Any] = _finite(json.loads(json.dumps(result)))
    if cell.purpose == "report" and not isinstance(plain.get("metrics"), dict):
        raise ValueError("the record of a reported cell must hold metrics")
    if cell.purpose == "search":
        if "metrics" in plain:
            raise ValueError("the record of a search must not hold metrics of what is reported")
        if not isinstance(plain.get("validation"), int | float):
            raise ValueError("the record of a search must hold a finite validation value")
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_cells(
    cells: Iterable[Cell],
    evaluate: Evaluate,
    ledger: Ledger,
    *,
    jobs: int = 1,
    engine_name: str = "loky",
    deadline: float = float("inf"),
    progress: bool = True,
    description: str = "",
) -> Outcome:
    """Evaluate the cells that the ledger does not hold, ``jobs`` at a time, in their order.

    Parameters
    ----------
    evaluate : callable
        Of one cell; a function that can be pickled where ``jobs`` > 1. An exception is kept as the cell's error and
        stops nothing.
    deadline : float
        Of ``time.monotonic()``: no cell begins after it; those begun are finished.
    progress : bool
        A bar on standard error, with the time left by the mean times of the groups.

    Each job has its share of the cores as threads, at most as many as torch has here (``OMP_NUM_THREADS``). Ctrl-C ends
    the run with all finished cells kept.
    """
    check_integer("jobs", jobs)
    wanted = list({cell.key(): cell for cell in cells}.values())
    open_ = [cell for cell in wanted if cell not in ledger]
    left = {cell.key(): cell for cell in open_}
    durations = Durations(ledger, wanted)
    threads = max(1, min(torch.get_num_threads(), cores() // jobs))
    outcome = Outcome()

    def tasks(some: Iterable[Cell]) -> Iterator[Any]:
        for cell in some:
            if time.monotonic() >= deadline:
                return
            yield joblib.delayed(_one)(evaluate, cell, threads)

    with (
        engine(engine_name, jobs),
        tqdm(total=len(wanted), initial=len(wanted) - len(open_), desc=description, disable=not progress) as bar,
    ):
        try:
            for cell, result in _results(tasks, open_, engine_name, jobs):
                ledger.put(cell, result)
                left.pop(cell.key(), None)
                if "error" not in result:
                    durations.add(cell, result)
                bar.set_postfix_str(f"about {duration(durations.remaining(left.values(), jobs))} left")
                bar.update()
        except KeyboardInterrupt:
            outcome.interrupted = True
    for cell in wanted:
        error = ledger.error(cell)
        if cell in ledger:
            outcome.done.append(cell)
        elif error is not None and cell.key() not in left:
            outcome.failed[cell] = error
        else:
            outcome.cut.append(cell)
    return outcome


def _results(
    tasks: Callable[[Iterable[Cell]], Iterator[Any]], cells: list[Cell], engine_name: str, jobs: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield results as they come; ray's engine cannot, so there in rounds of four cells a job."""
    if not cells:
        return
    options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "n_jobs"}
    if engine_name == "ray":
        for start in range(0, len(cells), 4 * jobs):
            yield from joblib.Parallel(**options)(tasks(cells[start : start + 4 * jobs]))
        return
    yield from joblib.Parallel(return_as="generator_unordered", **options)(tasks(cells))


def conduct(
    cells: Sequence[Cell],
    evaluate: Evaluate,
    ledger: Ledger,
    *,
    jobs: int = 1,
    engine_name: str = "loky",
    budget: float | None = None,
    progress: bool = True,
    say: Callable[[str], object] = print,
    description: str = "",
    dry: bool = False,
) -> Outcome:
    """Time one cell of each group, say how long all will take, cut what is beyond the budget, run the rest.

    Cells stand in order of importance: the last are cut first. With the seeds outermost a cut takes whole seeds from
    all systems alike, and paired comparisons remain.

    Parameters
    ----------
    budget : float, optional
        Hours for this call, timing included. What is over after it, though the estimate fitted, is cut as well.
    dry : bool
        End after the estimate; everything open is in ``cut``.

    Other parameters: see :func:`run_cells`.
    """
    check_number("budget", budget, above=0, optional=True)
    begin = time.monotonic()
    deadline = float("inf") if budget is None else begin + 3600 * budget
    shared: dict[str, Any] = {"jobs": jobs, "engine_name": engine_name, "deadline": deadline, "progress": progress}
    timing = f"{description} timing".strip()
    cells = list({cell.key(): cell for cell in cells}.values())
    for _ in range(2):  # the first cell of a process is a cold one, so its group is timed again
        first = Durations(ledger, cells).untimed([cell for cell in cells if cell not in ledger])
        if first and run_cells(first, evaluate, ledger, description=timing, **shared).interrupted:
            return run_cells(cells, evaluate, ledger, **{**shared, "deadline": 0.0})
    durations = Durations(ledger, cells)
    open_ = [cell for cell in cells if cell not in ledger]
    say(durations.describe(open_, len(cells) - len(open_), jobs))
    chosen = within(open_, durations, jobs, deadline - time.monotonic()) if budget is not None else open_
    if len(chosen) < len(open_):
        say(f"The budget has room for {len(chosen)} of the {len(open_)} open cells; the others are cut.")
    begun = {cell.key() for cell in chosen}
    run = [cell for cell in cells if cell in ledger or cell.key() in begun]
    outcome = run_cells(run, evaluate, ledger, description=description, **(shared | ({"deadline": 0.0} if dry else {})))
    known = {cell.key() for cell in run}
    outcome.cut += [cell for cell in cells if cell.key() not in known]
    return outcome


def within(cells: Sequence[Cell], durations: Durations, jobs: int, seconds: float) -> list[Cell]:
    """The longest beginning of ``cells`` that is expected to take at most ``seconds``."""
    spent, chosen = 0.0, []
    for cell in cells:
        spent += durations.each(cell) / jobs
        if spent > seconds:
            break
        chosen.append(cell)
    return chosen
