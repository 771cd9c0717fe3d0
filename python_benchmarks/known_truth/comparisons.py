"""Means with intervals, and paired tests of each transport method against each control, adjusted together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from python_benchmarks.known_truth.methods import FEATURES, FLAT, STRATA, TRIES, controls_of
from python_benchmarks.known_truth.study import TRIED

OUTCOMES = ("SNIPS, all", "SNIPS, six", "SNIPS, fitted", "DR, all", "system")
"""What is tested. "system" is the squared error over the whole matrix of a factorisation trained with the weights."""

LEVEL = 0.05


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over draws of every number, and the half width of its 95 % interval, by selection, propensity and method."""
    groups = rows.drop(columns="draw").groupby(["selection", "propensity", "method"], sort=False)
    count = groups.size().rename("draws")
    half = groups.sem().mul(stats.t.ppf(0.975, (count - 1).clip(lower=1)), axis=0)
    return pd.concat([count, groups.mean(), half.add_suffix(" ±")], axis=1).reset_index()


def best_flat(rows: pd.DataFrame, outcome: str) -> str:
    """The flat control with the least mean on the reported draws themselves: a choice in the controls' favour."""
    flat = rows[rows.method.isin(FLAT)]
    return str(flat.groupby("method")[outcome].mean().idxmin())


def pairs(methods: list[str], flat: str) -> list[tuple[str, str, str]]:
    """Transport method, control, and what the control is."""
    found = []
    for features in FEATURES:
        for name in ("WBM", *TRIES):
            if (method := f"{name}, on {features}") in methods:
                entropy, kernel = controls_of(features)
                found += [(method, flat, "best flat"), (method, STRATA, "strata")]
                found += [(method, entropy, "entropy balancing"), (method, kernel, "kernel balancing")]
    return found


def paired_tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Every comparison on ``TRIED`` propensities; p by the paired t-test, Holm's steps over all of one outcome."""
    found = []
    for outcome in OUTCOMES:
        for (selection, propensity), part in rows.groupby(["selection", "propensity"], sort=False):
            if propensity not in TRIED:
                continue
            wide = part.pivot(index="draw", columns="method", values=outcome)
            for method, control, role in pairs(list(wide), best_flat(part, outcome)):
                difference = (wide[method] - wide[control]).to_numpy()
                found.append(
                    {"outcome": outcome, "selection": selection, "propensity": propensity, "method": method}
                    | {"control": control, "role": role} | _paired(difference)
                )  # fmt: skip
    table = pd.DataFrame(found).assign(p_holm=np.nan)
    for outcome in OUTCOMES:
        own = table.outcome == outcome
        if own.any() and table.loc[own, "p"].notna().all():
            table.loc[own, "p_holm"] = multipletests(table.loc[own, "p"], method="holm")[1]
    return table


def _paired(difference: np.ndarray) -> dict[str, float | int | None]:
    n, mean = len(difference), float(difference.mean())
    if n < 2:
        return {"draws": n, "difference": mean, "half": None, "lower_in": int((difference < 0).sum()), "p": None}
    half = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5)
    p = 1.0 if not difference.any() else float(stats.ttest_1samp(difference, 0.0).pvalue)
    return {"draws": n, "difference": mean, "half": half, "lower_in": int((difference < 0).sum()), "p": p}


def wins(tests: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Transport method -> places (selection, propensity) where it beats every control, where any control beats it."""
    rows = tests[tests.outcome == outcome]
    better = (rows.difference < 0) & (rows.p_holm <= LEVEL)
    worse = (rows.difference > 0) & (rows.p_holm <= LEVEL)
    place = rows.selection + ", " + rows.propensity
    table = rows.assign(better=better, worse=worse, place=place)
    by = table.groupby(["method", "place"], sort=False).agg(all_beaten=("better", "all"), beaten=("worse", "any"))
    return by.groupby(level=0, sort=False).agg(
        places=("beaten", "size"), beats_all=("all_beaten", "sum"), loses_to_one=("beaten", "sum")
    )
