"""The command of a study: options, search, reported runs within a budget, page; and that of a map."""

from __future__ import annotations

import argparse
import datetime
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import wbm_ext
from python_benchmarks._harness import Record, machine
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.durations import Durations, duration
from python_benchmarks._study.engines import ENGINES
from python_benchmarks._study.ledger import Ledger
from python_benchmarks._study.map import Design
from python_benchmarks._study.page import Report
from python_benchmarks._study.run import Evaluate, Outcome, conduct
from python_benchmarks._study.search import Found, Space, pilot, search, trials_within
from python_benchmarks._study.statistics import Summary, summarize
from wbm_ext.errors import DatasetError, MissingExtraError, UnknownNameError, check_name

SEARCH_SEED = 1000  # search seeds start here: no seed of the report
SEARCH_SHARE = 0.2  # of the budget, that the search has at the least: parameters are part of what is reported
Parameters = Mapping[tuple[str, str], Mapping[str, Any]]  # (system, data) -> parameters


def parser(module: str, description: str | None, *, seeds: int, out: str) -> argparse.ArgumentParser:
    """The options that all studies and maps have; ``module`` behind ``python -m python_benchmarks.``."""
    line = argparse.ArgumentParser(
        prog=f"python -m python_benchmarks.{module}",
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--seeds", type=int, default=seeds, help=f"reported seeds, 0 to n - 1 (default {seeds})")
    line.add_argument("--jobs", type=int, default=1, help="runs side by side; the cores are shared among them")
    line.add_argument("--engine", default="loky", metavar="NAME", help=f"of joblib: {', '.join(ENGINES)}")
    line.add_argument("--budget", type=float, default=None, metavar="HOURS", help="cut what takes longer, and name it")
    line.add_argument("--dry-run", action="store_true", help="time a run a system, print the estimate, and end")
    line.add_argument("--out", type=Path, default=Path(out), metavar="FOLDER")
    line.add_argument("--epochs", type=int, default=None, help="largest number of epochs (default: the systems')")
    line.add_argument("--no-progress", action="store_true")
    return line


def add_search(
    line: argparse.ArgumentParser, tables: Sequence[str], figures: Sequence[str], data: Iterable[str],
    *, trials: int, seeds: int,
) -> None:  # fmt: skip
    """The options of a study that reproduces tables and figures and searches parameters."""
    line.add_argument("--table", action="append", choices=tables, help="repeatable; default: all")
    line.add_argument("--figure", action="append", choices=figures, help="repeatable; default: those of the data")
    line.add_argument("--data", metavar="NAMES", help=f"of {', '.join(data)}; default: those that are there")
    line.add_argument("--systems", metavar="NAMES", help="default: all")
    line.add_argument("--no-search", action="store_true", help="default parameters")
    line.add_argument("--trials", type=int, default=trials, help="of the search, a system and data set")
    line.add_argument("--search-seeds", type=int, default=seeds, help="of the search, from 1000 on")


def repeat(line: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Return the command as it stands in reports: options that differ from their defaults, without the folder."""
    text = [line.prog]
    for name, value in vars(options).items():
        if value == line.get_default(name) or name in ("out", "no_progress", "jobs", "engine"):
            continue
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            text.append(flag if one is True else f"{flag} {one}")
    return " ".join(text)


def named(option: str, text: str | None, known: Iterable[str]) -> list[str]:
    """The names that an option lists, checked; all that are known without it."""
    known = list(known)
    return known if text is None else [check_name(option, name.strip(), known) for name in text.split(",")]


def context() -> dict[str, Any]:
    """What results depend on beside the cell."""
    return {"wbm_ext": wbm_ext.__version__, "torch": torch.__version__}


def exit_code(run: Callable[[], int]) -> int:
    """Run a command; what a user can mend, and an interrupt, are one line on standard error and a code of their own."""
    try:
        return run()
    except (DatasetError, MissingExtraError, UnknownNameError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


@dataclass
class Results:
    """A finished or interrupted study: what was to be run, with which parameters, and where the runs are."""

    ledger: Ledger
    names: Sequence[str]
    sources: Sequence[Any]
    tables: Sequence[str]
    figures: Sequence[str]
    seeds: int
    parameters: Parameters
    outcome: Outcome
    found: dict[str, Found] = field(default_factory=dict)
    search_seeds: int = 0
    notes: list[str] = field(default_factory=list)
    command: str = ""

    def searched(self, over: str = "", unit: str = "system") -> str:
        """A sentence on the search: over what, on how many seeds and trials, by which rule."""
        if not self.found:
            return "No search: every system has the package's default parameters."
        counts = sorted({found.finished for found in self.found.values()})
        wanted = max(found.wanted for found in self.found.values())
        rule = "the defaults are left only for a gain above one standard error, seed by seed" * (self.search_seeds > 1)
        return (
            f"Search by optuna{over}, by validation on {self.search_seeds} seed(s) that are not reported, the defaults "
            f"first: {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} of {wanted} trials a {unit}; "
            f"{rule or 'the best is taken'}."
        )

    def content(self, benchmark: str, packages: Iterable[str], left_out: list[str], **more: Any) -> Record:
        """The JSON of a study."""
        return {
            "benchmark": benchmark, "command": self.command, "date": str(datetime.date.today()),
            "machine": machine(packages), "seeds": self.seeds, "notes": self.notes,
            "search": {name: vars(found) for name, found in self.found.items()}, "left_out": left_out, **more,
        }  # fmt: skip

    def begin(self, report: Report, packages: Iterable[str], lines: Iterable[str]) -> None:
        """The head of a report: command, protocol, machine and versions, notes."""
        about = machine(packages)
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        report.text(f"`{self.command}`, {datetime.date.today()}.")
        report.heading("Protocol")
        report.bullets([*lines, f"{about['cpu']}, {about['cores']} cores; {versions}.", *self.notes])

    def summary_of(self, cells: Iterable[Cell], metric: str) -> Summary | None:
        """Of a metric over the finished cells of one setting."""
        values = self.ledger.sample(cells, metric)
        return summarize(values.values()) if values else None


@dataclass(frozen=True)
class Study:
    """What a study brings: systems, data sets, what is searched, its cells by parameters, its results and its page."""

    line: argparse.ArgumentParser
    evaluate: Evaluate
    names: Sequence[str]
    sources: Sequence[Any]
    tables: Sequence[str]
    figures: Sequence[str]
    spaces: Callable[[], Mapping[str, Space]]
    cells: Callable[[Parameters], list[Cell]]
    results: Callable[..., Results]
    write: Callable[[Any, Path], list[Path]]
    notes: list[str] = field(default_factory=list)


def chosen(options: argparse.Namespace, tables: Sequence[str], figures: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tables and figures: those named; where only one kind is named, nothing of the other; without any, all."""
    return (
        options.table or ([] if options.figure else list(tables)),
        options.figure or ([] if options.table else list(figures)),
    )


def run_study(study: Study, options: argparse.Namespace) -> int:
    """Search, run and report; return the exit code."""
    begin = time.monotonic()
    run: dict[str, Any] = {"jobs": options.jobs, "engine_name": options.engine, "progress": not options.no_progress}
    found: dict[str, Found] = {}
    parameters: dict[tuple[str, str], Mapping[str, Any]] = {}
    end = math.inf if options.budget is None else begin + 3600 * options.budget
    with Ledger(options.out / "runs.jsonl", context()) as ledger:
        spaces = {} if options.no_search else study.spaces()
        parameters = {(space.cell.system, space.cell.data): space.cell.params for space in spaces.values()}
        if spaces:
            seeds = range(SEARCH_SEED, SEARCH_SEED + options.search_seeds)
            times = pilot(spaces, study.evaluate, ledger, seeds=seeds, **run)
            trials = _trials(options, spaces, times, study.cells(parameters), ledger, end)
            if trials and not options.dry_run:
                found = search(spaces, study.evaluate, ledger, trials=trials, seeds=seeds, deadline=end, **run)
                for name, space in spaces.items():
                    found[name].wanted = options.trials
                    parameters[space.cell.system, space.cell.data] = {**space.cell.params, **found[name].params}
            if trials < options.trials:
                text = f"The budget of {options.budget:g} h cuts the search to {trials} of {options.trials} trials."
                study.notes.append(text)
        left = None if options.budget is None else max((end - time.monotonic()) / 3600, 1e-9)
        outcome = conduct(study.cells(parameters), study.evaluate, ledger, budget=left, dry=options.dry_run, **run)
        if options.dry_run:
            return 0
        results = study.results(
            ledger, study.names, study.sources, study.tables, study.figures, options.seeds, parameters, outcome,
            found=found, search_seeds=options.search_seeds, notes=study.notes, command=repeat(study.line, options),
        )  # fmt: skip
        return _end(study.write(results, options.out), outcome)


def _trials(
    options: argparse.Namespace, spaces: Mapping[str, Space], times: Durations, cells: Sequence[Cell],
    ledger: Ledger, end: float,
) -> int:  # fmt: skip
    """Say how long search and reported runs will take; return the trials that the budget has room for."""
    after = times.remaining([cell for cell in cells if cell not in ledger], options.jobs)
    wanted = options.trials * len(spaces) * options.search_seeds
    seeds = options.search_seeds * max(0.0, 1 - ledger.count("search") / max(wanted, 1))  # what is still to be run
    one = seeds * times.remaining([space.cell for space in spaces.values()], options.jobs)
    print(
        f"Search: {options.trials} trials x {len(spaces)} systems and data x {options.search_seeds} seeds, about "
        f"{duration(one * options.trials)}; {len(cells)} reported runs, about {duration(after)}; on {options.jobs} "
        "job(s). Trials with small batches or large embeddings take longer than the timed defaults."
    )
    if options.budget is None:
        return options.trials
    left = end - time.monotonic()
    seconds = min(left, max(SEARCH_SHARE * 3600 * options.budget, left - after))
    return trials_within(spaces, times, trials=options.trials, seeds=seeds, jobs=options.jobs, seconds=seconds)


def run_map(
    line: argparse.ArgumentParser, options: argparse.Namespace, design: Design, evaluate: Evaluate,
    write: Callable[[Any, Ledger, Outcome, Path, str], list[Path]],
) -> int:  # fmt: skip
    """Run the cells of a map and write its files; return the exit code."""
    with Ledger(options.out / "runs.jsonl", context()) as ledger:
        outcome = conduct(
            design.all_cells(), evaluate, ledger, jobs=options.jobs, engine_name=options.engine,
            budget=options.budget, progress=not options.no_progress, dry=options.dry_run,
        )  # fmt: skip
        if options.dry_run:
            return 0
        return _end(write(design, ledger, outcome, options.out, repeat(line, options)), outcome)


def _end(files: Sequence[Path], outcome: Outcome) -> int:
    print("wrote", ", ".join(map(str, files)))
    return 1 if outcome.failed or outcome.interrupted else 0
