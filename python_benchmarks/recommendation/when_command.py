"""The command of the map of gains: ``python -m python_benchmarks.recommendation when``."""

from __future__ import annotations

import argparse

from python_benchmarks._study.options import command, conduct_map
from python_benchmarks.recommendation import when, when_report
from python_benchmarks.recommendation.evaluate import evaluate
from python_benchmarks.recommendation.options import common, generated


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.recommendation when",
        description=when.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    common(line, seeds=5, out="results/when")
    return line


def main(argv: list[str]) -> int:
    """Run the command; return the exit code."""
    options = parser().parse_args(argv)
    held = {} if options.epochs is None else {"epochs": options.epochs}
    design = when.Design(size=generated(options), held=held, seeds=options.seeds)
    text = command(parser(), options, "python_benchmarks.recommendation", "when")
    return conduct_map(
        options, design.all_cells(), evaluate,
        lambda ledger, outcome: when_report.write(design, ledger, outcome, options.out, text),
    )  # fmt: skip
