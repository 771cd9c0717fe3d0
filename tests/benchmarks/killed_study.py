"""A study that kills itself with signal 9 in its fourth cell: ``python killed_study.py LEDGER TRACE``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from study_cells import evaluate  # noqa: E402

from python_benchmarks._study import Cell, Ledger, conduct  # noqa: E402

ledger, trace = sys.argv[1:]
cells = [Cell("good", "sums", seed, data_params={"trace": trace, "die_at": 3}) for seed in range(6)]
with Ledger(Path(ledger)) as open_ledger:
    conduct(cells, evaluate, open_ledger, progress=False)
