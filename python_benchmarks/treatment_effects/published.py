"""Figures of "Sinkhorn Discrepancy for Counterfactual Generalization" that could be verified; the rest is left out.

Means of ten runs. Table 2, the PEHE of tarnet and cfr-wass and the text on λ are as printed; the other figures of escfr
and the AUUC of tarnet are those that a later publication quotes. Which draw of ACIC 2016 they rest on is not said:
zymu_1 is the one whose effects have the spread that fits best, and it need not be theirs.
"""

from __future__ import annotations

from python_benchmarks.treatment_effects.data import ACIC, IHDP, Source
from python_benchmarks.treatment_effects.protocol import NEITHER, OURS, PFOR, RMPR

Entries = dict[str, dict[str, float]]  # row -> metric -> mean

TABLE_1: dict[str, Entries] = {
    ACIC: {
        "tarnet": {"pehe_out": 3.254, "auuc_in": 0.886},
        "cfr-wass": {"pehe_out": 3.207},
        OURS: {"pehe_in": 2.252, "pehe_out": 2.316, "auuc_in": 0.796},
    },
    IHDP: {OURS: {"pehe_out": 1.282, "auuc_out": 0.719}},
}
TABLE_2: Entries = {
    NEITHER: {"pehe_out": 3.207},
    RMPR: {"pehe_out": 2.768},
    PFOR: {"pehe_out": 2.633},
    OURS: {"pehe_out": 2.316},
}
FIGURE_5: dict[str, tuple[tuple[float, float], ...]] = {"balance_weight": ((0.0, 3.22), (1.5, 2.85))}

TOLERANCE = {"pehe_in": 0.25, "pehe_out": 0.25, "auuc_in": 0.05, "auuc_out": 0.05}
"""Difference from which the report says so."""


def entries(row: str, source: Source, table: str = "1") -> dict[str, float]:
    """Metric -> published mean of a row; empty where none is known."""
    if source.data == ACIC and source.params["file"] != 1:
        return {}
    if table == "2":
        return TABLE_2.get(row, {}) if source.data == ACIC else {}
    return TABLE_1.get(source.data, {}).get(row, {})
