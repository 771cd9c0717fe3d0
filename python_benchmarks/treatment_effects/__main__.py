"""The study of treatment-effect systems: Tables 1, 2, 4 to 8 and Figures 5, 7, 8, 10 to 12 of the ESCFR paper.

    pip install -e '.[study,data,baselines]'
    export WBM_DATA=<folder with ihdp/ and acic2016/>
    python -m python_benchmarks.treatment_effects --table 1 --no-search --seeds 3 --jobs 2  # defaults
    python -m python_benchmarks.treatment_effects --budget 6 --jobs 2                       # everything
    python -m python_benchmarks.treatment_effects --table 1 --dry-run                       # only how long it takes
    python -m python_benchmarks.treatment_effects when --jobs 2                             # on generated data

A network is fitted once a run; the epochs are then chosen by every criterion from the same fit. Parameters are searched
on validation parts only, with seeds that are not reported. Counterfactual outcomes are read for the report alone. The
length is printed after one timed run a system; ``--budget`` cuts search trials first, then runs from the end: the
constant effects, the batch sizes, the last seeds. The report names what was cut. A run that is ended by Ctrl-C or
kill -9 goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from python_benchmarks._study import Cell, Space
from python_benchmarks._study.command import (
    Parameters,
    Study,
    add_search,
    chosen,
    exit_code,
    named,
    parser,
    run_map,
    run_study,
)
from python_benchmarks.treatment_effects import protocol, report, when
from python_benchmarks.treatment_effects.data import ACIC, CONSTANT, GENERATED, IHDP, NAMES, Source
from python_benchmarks.treatment_effects.evaluate import CRITERION, SLOW, evaluate
from python_benchmarks.treatment_effects.protocol import ABLATION, GROUPS, LITERAL, OURS, VARIED, Row
from python_benchmarks.treatment_effects.results import Results
from wbm_ext.datasets import load
from wbm_ext.errors import DatasetError
from wbm_ext.ite import systems
from wbm_ext.ite.selection import CRITERIA

FILES = (1, 4, 5, 6, 7, 8, 9, 10, *CONSTANT)
EARLY = 3  # seeds of the main tables that come before the sweeps


def sources(names: str | None, units: int) -> tuple[list[Source], list[str]]:
    """Return the data sets to run on, those that are ranked first, and notes on those that are not there.

    Raises
    ------
    DatasetError
        One that was named cannot be read.
    """
    wanted = [ACIC, IHDP] if names is None else named("--data", names, NAMES)
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


def study(argv: list[str]) -> int:
    line = parser("treatment_effects", __doc__, seeds=10, out="results/treatment_effects")
    add_search(line, protocol.TABLES, protocol.FIGURES, NAMES, trials=protocol.TRIALS, seeds=2)
    line.add_argument("--criterion", default=CRITERION, choices=CRITERIA, help="that chooses the epochs of the tables")
    line.add_argument("--sweep-seeds", type=int, default=2, help="of Tables 4, 7, 8 and their figures")
    line.add_argument("--units", type=int, default=500, help="of generated data")
    options = line.parse_args(argv)
    found, notes = sources(options.data, options.units)
    tables, figures = chosen(options, protocol.TABLES, protocol.FIGURES)
    names = named("--systems", options.systems, systems())
    held = {} if options.epochs is None else {"epochs": options.epochs}
    swept = [source for source in found if not source.constant][:2]

    def cells(searched: Parameters) -> list[Cell]:
        parameters = {(name, source.data): held for name in names for source in found} | dict(searched)
        return _cells(options, names, found, swept, tables, figures, parameters)

    made = partial(Results, held=held, swept=swept, criterion=options.criterion, sweep_seeds=options.sweep_seeds)
    spaces = partial(_spaces, names, found, held)
    return run_study(
        Study(line, evaluate, names, found, tables, figures, spaces, cells, made, report.write, notes), options
    )


def gains(argv: list[str]) -> int:
    line = parser("treatment_effects when", when.__doc__, seeds=5, out="results/treatment_effects_when")
    line.add_argument("--units", type=int, default=700, help="of a draw")
    options = line.parse_args(argv)
    held = {} if options.epochs is None else {"epochs": options.epochs}
    design = when.Design(units=options.units, held=held, seeds=options.seeds)
    return run_map(line, options, design, evaluate, when.write)


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
    parameters: Parameters,
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


def main(argv: list[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["when"]:
        return exit_code(lambda: gains(arguments[1:]))
    return exit_code(lambda: study(arguments))


if __name__ == "__main__":
    sys.exit(main())
