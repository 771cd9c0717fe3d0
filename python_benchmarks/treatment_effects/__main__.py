"""The study of treatment-effect systems: Tables 1, 2, 4 to 8 and Figures 5, 7, 8, 10 to 12 of the ESCFR paper.

    pip install -e '.[study,data,baselines]'
    export WBM_DATA=<folder with ihdp/ and acic2016/>
    python -m python_benchmarks.treatment_effects --table 1 --no-search --seeds 3 --jobs 2  # defaults
    python -m python_benchmarks.treatment_effects --budget 6 --jobs 2                       # everything
    python -m python_benchmarks.treatment_effects --table 1 --dry-run                       # only how long it takes
    python -m python_benchmarks.treatment_effects when --jobs 2                             # on generated data

A network is fitted once a run; the epochs are then chosen by every criterion from the same fit. Parameters are searched
on validation parts only, with seeds that are not reported. Counterfactual outcomes are read for the report alone. The
length is told after one timed run a system; ``--budget`` cuts search trials first, then runs from the end: the constant
effects, the batch sizes, the last seeds. The report names what was cut. A run that is broken off, by Ctrl-C or kill -9,
goes on where it was when the same command is given again.
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
)
from python_benchmarks._study.options import command, common, context, exit_code
from python_benchmarks.treatment_effects import protocol, report
from python_benchmarks.treatment_effects.data import ACIC, CONSTANT, GENERATED, IHDP, NAMES, Source
from python_benchmarks.treatment_effects.evaluate import CRITERION, SLOW, evaluate
from python_benchmarks.treatment_effects.protocol import ABLATION, GROUPS, LITERAL, OURS, SEARCH_SEED, VARIED, Row
from python_benchmarks.treatment_effects.results import Results
from wbm_ext.datasets import load
from wbm_ext.errors import DatasetError, check_name
from wbm_ext.ite import systems
from wbm_ext.ite.selection import CRITERIA

FILES = (1, 4, 5, 6, 7, 8, 9, 10, *CONSTANT)
EARLY = 3  # seeds of the main tables that come before the sweeps


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.treatment_effects",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--table", action="append", choices=protocol.TABLES, help="repeatable; default: all")
    line.add_argument("--figure", action="append", choices=protocol.FIGURES, help="repeatable; default: all")
    line.add_argument("--data", default=None, metavar="NAMES", help=f"of {', '.join(NAMES)}; default: what is there")
    line.add_argument("--systems", default=None, metavar="NAMES", help="default: all")
    line.add_argument("--criterion", default=CRITERION, choices=CRITERIA, help="that chooses the epochs of the tables")
    line.add_argument("--no-search", action="store_true", help="default parameters")
    line.add_argument("--trials", type=int, default=protocol.TRIALS, help="of the search, a network and kind of data")
    line.add_argument("--search-seeds", type=int, default=2, help="of the search, from 1000 on")
    line.add_argument("--sweep-seeds", type=int, default=2, help="of Tables 4, 7, 8 and their figures")
    line.add_argument("--units", type=int, default=500, help="of generated data")
    common(line, seeds=10, out="results/treatment_effects")
    return line


def sources(names: str | None, units: int) -> tuple[list[Source], list[str]]:
    """Return the data sets to run on, those that are ranked first, and notes on those that are not there.

    Raises
    ------
    DatasetError
        One that was asked for by name cannot be read.
    """
    wanted = [ACIC, IHDP] if names is None else [check_name("--data", name.strip(), NAMES) for name in names.split(",")]
    found: list[Source] = []
    notes: list[str] = []
    for name in wanted:
        if name == GENERATED:
            found.append(Source(GENERATED, {"n": units}))
        elif name == IHDP:
            if _there(names is not None):
                found.append(Source(IHDP))
            else:
                notes.append(f"Not under WBM_DATA: {IHDP}.")
        elif name == ACIC:
            found += [Source(ACIC, {"file": file}) for file in FILES if _there(names is not None and file == 1, file)]
            lacking = sorted({*FILES} - {source.params["file"] for source in found if source.data == ACIC})
            if lacking:
                notes.append(f"Not under WBM_DATA: {ACIC}, file(s) {', '.join(str(file) for file in lacking)}.")
    if not found:
        raise DatasetError("no data set of the study is under WBM_DATA; name its folder, or use --data " + GENERATED)
    return sorted(found, key=lambda source: source.constant), notes


def _there(strict: bool, file: int | None = None) -> bool:
    """Whether a file of ACIC, or without one IHDP, can be read."""
    try:
        load(IHDP) if file is None else load(ACIC, file=file)
    except DatasetError:
        if strict:
            raise
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["when"]:
        from python_benchmarks.treatment_effects import when

        return exit_code(lambda: when.main(arguments[1:]))
    return exit_code(lambda: study(parser().parse_args(arguments)))


def study(options: argparse.Namespace) -> int:
    begin = time.monotonic()
    found_sources, notes = sources(options.data, options.units)
    tables = options.table or ([] if options.figure else list(protocol.TABLES))
    figures = options.figure or ([] if options.table else list(protocol.FIGURES))
    known = systems()
    names = known if options.systems is None else [
        check_name("--systems", name.strip(), known) for name in options.systems.split(",")
    ]  # fmt: skip
    held = {} if options.epochs is None else {"epochs": options.epochs}
    run: dict[str, Any] = {"jobs": options.jobs, "engine_name": options.engine, "progress": not options.no_progress}
    parameters: dict[tuple[str, str], dict[str, Any]] = {
        (name, source.data): dict(held) for name in names for source in found_sources
    }
    found: dict[str, Found] = {}
    swept = [source for source in found_sources if not source.constant][:2]
    with Ledger(options.out / "runs.jsonl", context()) as ledger:

        def cells() -> list[Cell]:
            return _cells(options, names, found_sources, swept, tables, figures, parameters)

        if not options.no_search:
            spaces = _spaces(names, found_sources, held)
            seeds = range(SEARCH_SEED, SEARCH_SEED + options.search_seeds)
            pace = pilot(spaces, evaluate, ledger, seeds=seeds, **run)
            trials = _plan(options, spaces, pace, cells(), ledger, begin)
            if trials and not options.dry_run:
                deadline = float("inf") if options.budget is None else begin + 3600 * options.budget
                found = search(spaces, evaluate, ledger, trials=trials, seeds=seeds, deadline=deadline, **run)
                for result in found.values():
                    result.asked = options.trials
                parameters.update(protocol.chosen(found, spaces))
            if trials < options.trials:
                notes.append(f"The budget of {options.budget:g} h cuts the search to {trials} of {options.trials}.")
        left = None if options.budget is None else max(options.budget - (time.monotonic() - begin) / 3600, 1e-9)
        outcome: Outcome = conduct(cells(), evaluate, ledger, budget=left, dry=options.dry_run, **run)
        if options.dry_run:
            return 0
        results = Results(
            ledger, names, found_sources, swept, tables, figures, options.seeds, parameters, outcome,
            options.criterion, options.sweep_seeds, found=found, search_seeds=options.search_seeds, notes=notes,
        )  # fmt: skip
        files = report.write(results, options.out, command(parser(), options, "python_benchmarks.treatment_effects"))
    print("wrote", ", ".join(str(file) for file in files))
    return 1 if outcome.failed or outcome.interrupted else 0


def _spaces(names: Sequence[str], found: Sequence[Source], held: Mapping[str, Any]) -> dict[str, Space]:
    """One a network and kind of data, on the first data set of the kind."""
    first: dict[str, Source] = {}
    for source in found:
        first.setdefault(source.data, source)
    networks = [name for name in names if protocol.network(name)]
    return {
        f"{name} on {source.data}": protocol.space(name, source, **held)
        for source in first.values() for name in networks
    }  # fmt: skip


def _cells(
    options: argparse.Namespace,
    names: Sequence[str],
    found: Sequence[Source],
    swept: Sequence[Source],
    tables: Sequence[str],
    figures: Sequence[str],
    parameters: protocol.Parameters,
) -> list[Cell]:
    """All reported runs, the most important first."""

    def early(cell: Cell) -> bool:
        return cell.seed < EARLY or cell.data == IHDP

    wanted = {*tables, *(f"figure {figure}" for figure in figures)}
    ranked = [source for source in found if not source.constant]
    constant = [source for source in found if source.constant]
    rows: list[Row] = []
    if wanted & {"1", "5", "6", "figure 7"}:
        rows += protocol.table_rows(names)
    ours = OURS in names
    if "2" in wanted and ours:
        rows += [*ABLATION, Row(OURS, OURS)]
    main_ = protocol.table_cells(rows, ranked, parameters, options.seeds)
    slow = [cell for cell in main_ if cell.system == SLOW and cell.data == ACIC]
    cells = [cell for cell in main_ if cell not in slow and early(cell)]
    literal = LITERAL if options.epochs is None else ()  # with other epochs it is not the letter
    extra = [row for row in (*VARIED, *GROUPS, *literal) if "1" in wanted and row.system in names]
    cells += [cell for cell in protocol.table_cells(extra, ranked, parameters, options.seeds) if early(cell)]
    if wanted & protocol.SWEPT and ours:
        cells += protocol.sweep_cells(swept, parameters, min(options.sweep_seeds, options.seeds))
    cells += main_
    if wanted & protocol.BATCHED and ours:
        cells += protocol.batch_cells(swept, parameters, min(options.sweep_seeds, options.seeds))
    cells += protocol.table_cells([row for row in rows if row not in ABLATION], constant, parameters, options.seeds)
    return list({cell.key(): cell for cell in cells}.values())


def _plan(
    options: argparse.Namespace,
    spaces: Mapping[str, Space],
    pace: Pace,
    cells: Sequence[Cell],
    ledger: Ledger,
    begin: float,
) -> int:
    """Say how long search and reported runs will take; return the trials that the budget has room for."""
    after = pace.remaining([cell for cell in cells if cell not in ledger], options.jobs)
    wanted = options.trials * len(spaces) * options.search_seeds
    share = max(0.0, 1 - ledger.count("search") / max(wanted, 1))  # of the search that is still to be run
    one = share * options.search_seeds * pace.remaining([space.cell for space in spaces.values()], options.jobs)
    print(
        f"Search: {options.trials} trials x {len(spaces)} networks and kinds of data x {options.search_seeds} seeds, "
        f"about {duration(one * options.trials)}; {len(cells)} reported runs, about {duration(after)}; on "
        f"{options.jobs} job(s)."
    )
    if options.budget is None or one == 0:
        return options.trials
    # A fifth of the budget at least: parameters are part of what is reported.
    left = 3600 * options.budget - (time.monotonic() - begin)
    seconds = min(left, max(0.2 * 3600 * options.budget, left - after))
    return min(options.trials, max(0, int(seconds / one)))


if __name__ == "__main__":
    sys.exit(main())
