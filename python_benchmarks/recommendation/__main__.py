"""The study of debiased recommenders: Tables 3 and 4, Figures 4 and 5 of the WBM paper, and where balancing helps.

    pip install -e '.[study,data]'
    export WBM_DATA=<folder with coat/, and yahoo-r3/, kuairec/ where you have them>
    python -m python_benchmarks.recommendation --table 3 --no-search --seeds 10 --jobs 2   # defaults
    python -m python_benchmarks.recommendation --budget 6 --jobs 2                         # everything, search included
    python -m python_benchmarks.recommendation --table 3 --dry-run                         # only how long it would take
    python -m python_benchmarks.recommendation when --jobs 2                               # the map, on generated data

Parameters are searched on validation pairs only, with seeds that are not reported; a search run never touches the test
part. The length is told after one timed run a system and before the rest; ``--budget`` cuts search trials first, then
whole seeds from the end of the last table or figure, and the report names what was cut. A run that is broken off, by
Ctrl-C or kill -9, goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from python_benchmarks._study import (
    Cell,
    Found,
    Ledger,
    Outcome,
    Pace,
    Space,
    conduct,
    duration,
    pilot,
    search,
    trials_within,
)
from python_benchmarks._study.options import command, context, exit_code
from python_benchmarks.recommendation import protocol, report, when_command
from python_benchmarks.recommendation.evaluate import LENGTH, evaluate
from python_benchmarks.recommendation.options import common, generated
from python_benchmarks.recommendation.protocol import FIGURES, SEARCH_SEED, Source
from python_benchmarks.recommendation.results import Results
from wbm_ext.datasets import load
from wbm_ext.errors import DatasetError, check_name


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.recommendation",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--table", action="append", choices=["3", "4"], help="repeatable; default: both")
    line.add_argument(
        "--figure", action="append", choices=sorted(FIGURES), help="repeatable; default: those of the data"
    )
    line.add_argument(
        "--data", default=None, metavar="NAMES", help=f"of {', '.join(LENGTH)}; default: those that are there"
    )
    line.add_argument("--systems", default=None, metavar="NAMES", help="default: all")
    line.add_argument("--no-search", action="store_true", help="default parameters")
    line.add_argument("--trials", type=int, default=20, help="of the search, a system and data set")
    line.add_argument("--search-seeds", type=int, default=3, help="of the search, from 1000 on")
    line.add_argument(
        "--validation-metric", choices=["log_loss", "auc"], help="of epochs and search (default: the systems')"
    )
    common(line, seeds=10, out="results/recommendation")
    return line


def sources(names: str | None, size: Mapping[str, Any]) -> tuple[list[Source], list[str]]:
    """Return the data sets to run on, and notes on those of the paper that are not there.

    Raises
    ------
    DatasetError
        One that was asked for by name cannot be read.
    """
    if names is not None:
        wanted = [check_name("--data", name.strip(), LENGTH) for name in names.split(",")]
        made = [Source(name, size if name == "synthetic" else {}) for name in wanted]
        for source in made:
            load(source.name, **source.params)
        return made, []
    found, notes = [], []
    for name in (name for name in LENGTH if name != "synthetic"):
        try:
            load(name)
            found.append(Source(name))
        except DatasetError:
            notes.append(f"Not run: {name}, whose files are not under WBM_DATA.")
    if not found:
        raise DatasetError("no data set of the study is under WBM_DATA; name its folder, or use --data synthetic")
    return found, notes


def main(argv: list[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["when"]:
        return exit_code(lambda: when_command.main(arguments[1:]))
    return exit_code(lambda: study(parser().parse_args(arguments)))


def study(options: argparse.Namespace) -> int:
    begin = time.monotonic()
    found_sources, notes = sources(options.data, generated(options))
    tables = options.table or ([] if options.figure else ["3", "4"])
    figures = options.figure or ([] if options.table else sorted(FIGURES))
    known = protocol.table_systems()
    names = known if options.systems is None else [
        check_name("--systems", name.strip(), known) for name in options.systems.split(",")
    ]  # fmt: skip
    given = {"epochs": options.epochs, "validation_metric": options.validation_metric}
    held = {name: value for name, value in given.items() if value is not None}
    run: dict[str, Any] = {"jobs": options.jobs, "engine_name": options.engine, "progress": not options.no_progress}
    parameters: dict[tuple[str, str], dict[str, Any]] = {
        (name, source.name): dict(held) for name in names for source in found_sources
    }
    found: dict[str, Found] = {}
    with Ledger(options.out / "runs.jsonl", context()) as ledger:

        def cells() -> list[Cell]:
            return _cells(names, found_sources, tables, figures, parameters, options.seeds)

        if not options.no_search:
            spaces = {
                f"{name} on {source.name}": protocol.space(name, source, **held)
                for source in found_sources for name in names
            }  # fmt: skip
            seeds = range(SEARCH_SEED, SEARCH_SEED + options.search_seeds)
            pace = pilot(spaces, evaluate, ledger, seeds=seeds, **run)
            trials = _plan(options, spaces, pace, cells(), begin)
            if trials and not options.dry_run:
                deadline = float("inf") if options.budget is None else begin + 3600 * options.budget
                found = search(spaces, evaluate, ledger, trials=trials, seeds=seeds, deadline=deadline, **run)
                for result in found.values():
                    result.asked = options.trials
                parameters.update(protocol.chosen(found, spaces))
            if trials < options.trials:
                text = f"{trials} of {options.trials} trials a system"
                notes.append(f"The budget of {options.budget:g} h cuts the search to {text}.")
        left = None if options.budget is None else max(options.budget - (time.monotonic() - begin) / 3600, 1e-9)
        outcome: Outcome = conduct(cells(), evaluate, ledger, budget=left, dry=options.dry_run, **run)
        if options.dry_run:
            return 0
        results = Results(
            ledger, names, found_sources, tables, figures, options.seeds, parameters, outcome,
            found=found, search_seeds=options.search_seeds, notes=notes,
        )  # fmt: skip
        files = report.write(results, options.out, command(parser(), options, "python_benchmarks.recommendation"))
    print("wrote", ", ".join(str(file) for file in files))
    return 1 if outcome.failed or outcome.interrupted else 0


def _cells(
    names: Sequence[str],
    found_sources: Sequence[Source],
    tables: Sequence[str],
    figures: Sequence[str],
    parameters: protocol.Parameters,
    seeds: int,
) -> list[Cell]:
    """All reported runs, the most important first: Table 3, Table 4, the figures; within each, seed by seed."""
    cells: list[Cell] = []
    for source in found_sources:
        if "3" in tables:
            cells += protocol.table_3_cells(names, source, parameters, seeds)
    for source in found_sources:
        if "4" in tables:
            cells += protocol.table_4_cells(names, source, parameters, seeds)
    for source in found_sources:
        if any(FIGURES[figure] == source.name or source.name == "synthetic" for figure in figures):
            cells += protocol.figure_cells(names, source, parameters, seeds)
    return list({cell.key(): cell for cell in cells}.values())


def _plan(
    options: argparse.Namespace, spaces: Mapping[str, Space], pace: Pace, cells: Sequence[Cell], begin: float
) -> int:
    """Say how long search and reported runs will take; return the trials that the budget has room for."""
    after = pace.remaining(cells, options.jobs)
    one = options.search_seeds * pace.remaining([space.cell for space in spaces.values()], options.jobs)
    print(
        f"Search: {options.trials} trials x {len(spaces)} systems x {options.search_seeds} seeds, about "
        f"{duration(one * options.trials)}; {len(cells)} reported runs, about {duration(after)}; on {options.jobs} "
        "job(s). Trials with small batches or large embeddings take longer than the timed defaults."
    )
    if options.budget is None:
        return options.trials
    seconds = 3600 * options.budget - (time.monotonic() - begin) - after
    return trials_within(
        spaces, pace, trials=options.trials, seeds=options.search_seeds, jobs=options.jobs, seconds=seconds
    )


if __name__ == "__main__":
    sys.exit(main())
