"""The runs: every method on every draw, one record a draw and selection, resumed where an earlier command ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from python_benchmarks.known_truth.draw import ESTIMATORS, LOSSES, UNWEIGHTED, Draw
from python_benchmarks.known_truth.methods import TRANSPORT, TRIES, UNSCALED, all_weights
from python_benchmarks.known_truth.world import PREDICTIONS, true_propensity

Array = NDArray[np.float64]
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": (*PREDICTIONS, "fitted"),
    "six": PREDICTIONS,
    "fitted": ("fitted",),
}
"""Predicted matrices whose errors are taken together."""

TRIED = ("50 %", "learned")
"""Propensities on which the four attempts beyond WBM are run too, and systems trained."""


def run_draw(truth: Array, selection: str, seed: int, propensities: tuple[str, ...]) -> dict[str, Any]:
    """All rows of a draw: name of the method, propensity, errors in units of the naive mean's bias, system error, ESS.

    The error of an estimator over a group is sum |estimate - truth| / truth over its matrices and both losses, divided
    by the same sum of the naive mean's bias, which is known exactly: |E[o e]/E[o] - mean e| / mean e. 1 is as bad as
    naive.
    """
    torch.set_num_threads(1)
    draw = Draw(truth, selection, seed)
    keys = [(name, loss) for name in draw.predicted for loss in LOSSES]
    bias = naive_bias(draw, true_propensity(truth, selection))

    def together(found: Mapping[tuple[str, str], Mapping[str, float]], names: tuple[str, ...]) -> dict[str, float]:
        rows = {}
        for group, members in GROUPS.items():
            own = [key for key in keys if key[0] in members]
            scale = sum(bias[key] for key in own)
            rows |= {f"{name}, {group}": round(sum(found[key][name] for key in own) / scale, 6) for name in names}
        return rows

    rows = [
        {"method": "unweighted", "propensity": ""}
        | together({key: draw.unweighted_errors(*key) for key in keys}, UNWEIGHTED)
        | {"system": draw.system_error(np.ones(len(draw.keys)))}
    ]
    for propensity in propensities:
        for method, w in all_weights(draw, propensity, tries=propensity in TRIED).items():
            defined = [name for name in ESTIMATORS if name != "IPS" or method not in UNSCALED]
            errors = together({key: draw.errors(w, *key) for key in keys}, tuple(defined))
            rows.append(
                {"method": method, "propensity": propensity} | errors
                | ({"system": round(draw.system_error(w), 6)} if propensity in TRIED else {})
                | {name: round(value, 4) for name, value in draw.about(w).items()}
            )  # fmt: skip
    return {"selection": selection, "draw": seed, "n": len(draw.keys), "rows": rows}


def naive_bias(draw: Draw, p: Array) -> dict[tuple[str, str], float]:
    """|E[o e]/E[o] - mean e| / mean e of every predicted matrix and loss."""
    found = {}
    for name, y in draw.predicted.items():
        distance = np.abs(draw.truth - y)
        for loss, e in zip(LOSSES, (distance, distance**2), strict=True):
            found[name, loss] = float(abs((p * e).sum() / p.sum() - e.mean()) / e.mean())
    return found


def conduct(
    truth: Array, selections: tuple[str, ...], draws: range, propensities: tuple[str, ...], journal: Path, jobs: int
) -> pd.DataFrame:
    """Run what the journal lacks, draw by draw, and return all rows; an interrupt loses the draws under way only."""
    setting = {
        "truth": [*truth.shape, float(truth.sum())],
        "propensities": list(propensities),
        "methods": {**TRANSPORT, **{name: {"by": one.func.__name__, **one.keywords} for name, one in TRIES.items()}},
    }
    records = _read(journal, setting)
    missing = [(s, d) for d in draws for s in selections if (s, d) not in records]
    with journal.open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in (setting, *records.values()))
        file.flush()
        work = (delayed(run_draw)(truth, s, d, propensities) for s, d in missing)
        for record in Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
            records[record["selection"], record["draw"]] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
            print(f"{record['selection']}, draw {record['draw']}", file=sys.stderr, flush=True)
    wanted = [records[s, d] for s in selections for d in draws]
    return pd.DataFrame([{"selection": r["selection"], "draw": r["draw"], **row} for r in wanted for row in r["rows"]])


def _read(journal: Path, setting: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Finished draws of the same setting; a line that an interrupt cut short is left out."""
    if not journal.exists():
        return {}
    lines = []
    for line in journal.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    if not lines or lines[0] != setting:
        return {}
    return {(line["selection"], line["draw"]): line for line in lines[1:]}
