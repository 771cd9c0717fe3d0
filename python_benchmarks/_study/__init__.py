"""Studies: lists of runs (:class:`Cell`) that are made in parallel, kept one by one, searched, compared and reported.

A study brings two things: its cells, and a function ``evaluate(cell) -> record`` that can be pickled. A record is a
dict ready for JSON: ``metrics`` (name -> number) of a cell that is reported, ``validation`` (a number, lower is better)
of one that is searched; whatever else it holds is kept. The rest is here::

    ledger = Ledger(folder / "runs.jsonl", context={"study": 1})
    found = search(spaces, evaluate, ledger, trials=20)             # validation only, optuna
    outcome = conduct(cells, evaluate, ledger, jobs=2, budget=6)    # estimate, cut to budget, run, resume
    samples = collect(ledger, cells, "auc")                         # {setting: {seed: value}}
    paired(samples[one], samples[other])                            # difference, interval, t, Wilcoxon
"""

from __future__ import annotations

from python_benchmarks._study.aggregate import (
    Difference,
    Summary,
    by_setting,
    collect,
    holm,
    paired,
    summarize,
    two_sample,
)
from python_benchmarks._study.cells import Cell
from python_benchmarks._study.engines import ENGINES
from python_benchmarks._study.ledger import Ledger, LedgerInUseError
from python_benchmarks._study.pace import Pace, duration
from python_benchmarks._study.run import Outcome, conduct, run_cells
from python_benchmarks._study.search import Found, Space, pilot, search, trials_within

__all__ = [
    "ENGINES",
    "Cell",
    "Difference",
    "Found",
    "Ledger",
    "LedgerInUseError",
    "Outcome",
    "Pace",
    "Space",
    "Summary",
    "by_setting",
    "collect",
    "conduct",
    "duration",
    "holm",
    "paired",
    "pilot",
    "run_cells",
    "search",
    "summarize",
    "trials_within",
    "two_sample",
]
