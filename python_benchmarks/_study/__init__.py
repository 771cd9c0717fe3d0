"""Studies: lists of runs (:class:`Cell`) that are made in parallel, recorded one by one, searched, compared, reported.

A study brings two things: its cells, and a function ``evaluate(cell) -> record`` that can be pickled. A record is a
dict ready for JSON: ``metrics`` (name -> number) of a cell that is reported, ``validation`` (a number, lower is better)
of one that is searched; whatever else it holds is written too. The rest is here::

    ledger = Ledger(folder / "runs.jsonl", context={"study": 1})
    found = search(spaces, evaluate, ledger, trials=20)             # validation only, optuna
    outcome = conduct(cells, evaluate, ledger, jobs=2, budget=6)    # estimate, cut to budget, run, resume
    first, second = (ledger.sample(cells, "auc") for cells in two)  # {seed: value} of a setting
    paired(first, second)                                           # difference, interval, t, Wilcoxon
"""

from python_benchmarks._study.cells import Cell
from python_benchmarks._study.durations import Durations, duration
from python_benchmarks._study.ledger import Ledger, LedgerInUseError
from python_benchmarks._study.run import Outcome, conduct, run_cells
from python_benchmarks._study.search import Found, Space, pilot, search, trials_within
from python_benchmarks._study.statistics import (
    Comparison,
    Difference,
    Summary,
    adjusted,
    holm,
    paired,
    summarize,
    two_sample,
)

__all__ = [
    "Cell", "Comparison", "Difference", "Durations", "Found", "Ledger", "LedgerInUseError", "Outcome", "Space",
    "Summary", "adjusted", "conduct", "duration", "holm", "paired", "pilot", "run_cells", "search", "summarize",
    "trials_within", "two_sample",
]  # fmt: skip
