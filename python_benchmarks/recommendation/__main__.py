"""The study of debiased recommenders: Tables 3 and 4, Figures 4 and 5 of the WBM paper, and where balancing helps.

    pip install -e '.[study,data]'
    export WBM_DATA=<folder with coat/, and yahoo-r3/, kuairec/ where you have them>
    python -m python_benchmarks.recommendation --table 3 --no-search --seeds 10 --jobs 2   # defaults
    python -m python_benchmarks.recommendation --budget 6 --jobs 2                         # everything, search included
    python -m python_benchmarks.recommendation --table 3 --dry-run                         # only how long it would take
    python -m python_benchmarks.recommendation when --jobs 2                               # the map, on generated data

Parameters are searched on validation pairs only, with seeds that are not reported; a search run never touches the test
part. The length is printed after one timed run a system; ``--budget`` cuts search trials first, then whole seeds from
the end of the last table or figure, and the report names what was cut. A run that is ended by Ctrl-C or kill -9 goes on
where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from python_benchmarks._study import Cell
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
from python_benchmarks.recommendation import protocol, report, when
from python_benchmarks.recommendation.evaluate import LENGTH, evaluate
from python_benchmarks.recommendation.protocol import FIGURES, Source
from python_benchmarks.recommendation.results import Results
from wbm_ext.datasets import load
from wbm_ext.errors import DatasetError


def options_of(module: str, description: str | None, *, seeds: int, out: str) -> argparse.ArgumentParser:
    """What study and map share."""
    line = parser(module, description, seeds=seeds, out=out)
    line.add_argument("--users", type=int, default=200, help="of generated data")
    line.add_argument("--items", type=int, default=300, help="of generated data")
    return line


def generated(options: argparse.Namespace) -> dict[str, Any]:
    """Size of generated data."""
    return {"n_users": options.users, "n_items": options.items}


def sources(names: str | None, size: Mapping[str, Any]) -> tuple[list[Source], list[str]]:
    """Return the data sets to run on, and notes on those of the paper that are not there.

    Raises
    ------
    DatasetError
        One that was named cannot be read.
    """
    if names is not None:
        made = [Source(name, size if name == "synthetic" else {}) for name in named("--data", names, LENGTH)]
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


def study(argv: list[str]) -> int:
    line = options_of("recommendation", __doc__, seeds=10, out="results/recommendation")
    add_search(line, ["3", "4"], sorted(FIGURES), LENGTH, trials=20, seeds=3)
    metrics = ["log_loss", "auc"]
    line.add_argument("--validation-metric", choices=metrics, help="of epochs and search (default: the systems')")
    options = line.parse_args(argv)
    found, notes = sources(options.data, generated(options))
    tables, figures = chosen(options, ["3", "4"], sorted(FIGURES))
    names = named("--systems", options.systems, protocol.table_systems())
    given = {"epochs": options.epochs, "validation_metric": options.validation_metric}
    held = {name: value for name, value in given.items() if value is not None}

    def cells(searched: Parameters) -> list[Cell]:
        """The most important first: Table 3, Table 4, the figures; within each, seed by seed."""
        parameters = {(name, source.name): held for name in names for source in found} | dict(searched)
        drawn = [s for s in found if any(s.name in (FIGURES[figure], "synthetic") for figure in figures)]
        every = [
            cell
            for make, some in (
                (protocol.table_3_cells, found if "3" in tables else []),
                (protocol.table_4_cells, found if "4" in tables else []),
                (protocol.figure_cells, drawn),
            )
            for source in some
            for cell in make(names, source, parameters, options.seeds)
        ]
        return list({cell.key(): cell for cell in every}.values())

    return run_study(
        Study(
            line, evaluate, names, found, tables, figures,
            lambda: {f"{n} on {s.name}": protocol.space(n, s, **held) for s in found for n in names},
            cells, partial(Results, held=held), report.write, notes,
        ),
        options,
    )  # fmt: skip


def gains(argv: list[str]) -> int:
    line = options_of("recommendation when", when.__doc__, seeds=5, out="results/when")
    options = line.parse_args(argv)
    held = {} if options.epochs is None else {"epochs": options.epochs}
    design = when.Design(size=generated(options), held=held, seeds=options.seeds)
    return run_map(line, options, design, evaluate, when.write)


def main(argv: list[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["when"]:
        return exit_code(lambda: gains(arguments[1:]))
    return exit_code(lambda: study(arguments))


if __name__ == "__main__":
    sys.exit(main())
