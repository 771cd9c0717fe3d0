"""Systems side by side on one data set, over seeds: figures only, neither printed nor drawn."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats

from wbm_ext import _version
from wbm_ext.datasets import RatingsDataset, overlap
from wbm_ext.errors import check_name
from wbm_ext.recommender.balance import balance_report
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.judging import judge
from wbm_ext.recommender.parameters import check_integer
from wbm_ext.recommender.registry import create, systems
from wbm_ext.recommender.systems.given import GivenIPS

DEFAULT = ("naive", "ips", "ips-wbm")

KNOWN = ("constant", "oracle")
"""Rows beside the systems: ``ips`` with one propensity for all pairs, and with the true ones where they are known."""

DEFAULT_KNOWN = ("naive", "constant", "multi-ips", "ips-v2", "ips-wbm", "oracle")
"""Default where the true propensities are known; ``multi-ips`` is ``ips-wbm`` without its balance, λ_b = 0."""


def compare(
    dataset: RatingsDataset | Callable[[int], RatingsDataset],
    *,
    names: Sequence[str] | None = None,
    seeds: int = 3,
    k: int = 5,
    params: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Fit each system with ``random_state`` 0 .. seeds - 1 and score it on the unbiased test pairs.

    Under one seed all systems share hold-out, initial embeddings and order of the observed batches, so
    differences between systems are taken seed by seed.

    Parameters
    ----------
    dataset : RatingsDataset, or function of a seed that returns one
        Trained on ``train``; ``test`` is read for the final figures only. A function draws the data of each seed anew.
    names : sequence of str, optional
        Of :func:`~wbm_ext.recommender.systems`, or "constant" (``ips`` with one propensity for all pairs) and "oracle"
        (with the data set's own propensities: the truth where the data are generated). Default: "naive", "ips" and
        "ips-wbm"; for a function of a seed "naive", "constant", "multi-ips", "ips-v2", "ips-wbm" and "oracle".
    seeds : int
        Number of seeds.
    k : int
        Length of the lists for NDCG and F1.
    params : mapping, optional
        Parameters for all systems, e.g. ``{"epochs": 20}``; ``threshold`` defaults to the data set's.
    progress : bool
        Progress bars on standard error.

    Returns
    -------
    dict
        Ready for JSON: ``data``, ``setting``, ``versions``, ``systems`` (a name: ``parameters``, ``runs``
        (one a seed: ``metrics``, ``balance``, ``history``, ...) and ``summary`` (mean and sd, ddof 1, over
        seeds)), ``paired`` (differences to the first system) and ``verdict`` (what follows for ips-wbm, where
        naive and ips-wbm were both run).

    Raises
    ------
    UnknownNameError
        If a system or a parameter does not exist.
    """
    check_integer("seeds", seeds)
    check_integer("k", k)
    default, draw = (DEFAULT_KNOWN, dataset) if callable(dataset) else (DEFAULT, lambda seed: dataset)
    names = list(default if names is None else dict.fromkeys(names))
    for name in names:
        check_name("names", name, [*systems(), *KNOWN])
    first = draw(0)
    if "oracle" in names and first.propensities is None:
        raise ValueError("oracle needs a data set with propensities; got none")
    shared = {"threshold": first.threshold, **(params or {})}
    models = {
        name: GivenIPS(progress=progress, **shared) if name in KNOWN else create(name, progress=progress, **shared)
        for name in names
    }
    start = time.perf_counter()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(seeds):
        data = first if seed == 0 else draw(seed)
        for name in names:
            if name in KNOWN:
                models[name].set_params(propensities=_given(name, data))
            runs[name].append(_run(models[name].set_params(random_state=seed), data, seed, k))
    results = {
        name: {"parameters": _parameters(models[name]), "runs": runs[name], "summary": _summary(runs[name])}
        for name in names
    }
    paired = {f"{name} - {names[0]}": _paired(runs[names[0]], runs[name]) for name in names[1:]}
    return {
        "data": {**_describe(first), "drawn_anew": callable(dataset)},
        "setting": {
            "seeds": seeds,
            "k": k,
            "threshold": shared["threshold"],
            "validation": models[names[0]].validation,
            "validation_fraction": models[names[0]].validation_fraction,
        },
        "versions": {
            "wbm_ext": _version.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "systems": results,
        "paired": paired,
        "verdict": _verdict(runs),
        "seconds": time.perf_counter() - start,
    }


def _run(model: Recommender, dataset: RatingsDataset, seed: int, k: int) -> dict[str, Any]:
    start = time.perf_counter()
    model.fit(dataset.train)
    seconds = time.perf_counter() - start
    return {
        "seed": seed,
        "seconds": seconds,
        "metrics": judge(model, dataset.test, k),
        "balance": _balance(model, dataset),
        "best_epoch": model.history_.best_epoch,
        "stopped": model.history_.stopped,
        "history": model.history_.records,
    }


def _given(name: str, data: RatingsDataset) -> np.ndarray:
    return data.propensities if name == "oracle" else np.full((data.n_users, data.n_items), data.train.density)


def _balance(model: Recommender, dataset: RatingsDataset) -> dict[str, Any]:
    """Report in the covariates, or in the model's own embeddings where there are none."""
    own = dataset.user_features is None or dataset.item_features is None
    return balance_report(
        dataset,
        model.propensity,
        representation=model.embed if own else None,
        floor=getattr(model, "floor_", None),
    )


OWN = ("random_state", "progress", "propensities")  # not the same in all runs, or no parameter of the fit


def _parameters(model: Recommender) -> dict[str, Any]:
    return {name: value for name, value in model.get_params().items() if name not in OWN}


def _describe(dataset: RatingsDataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "licence": dataset.licence,
        "source": dataset.source,
        "n_users": dataset.n_users,
        "n_items": dataset.n_items,
        "n_train": len(dataset.train),
        "n_test": len(dataset.test),
        "density": dataset.train.density,
        "test_pairs_in_train": int(overlap(dataset.train, dataset.test).sum()),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures = {name: _spread([run["metrics"][name] for run in runs]) for name in runs[0]["metrics"]}
    numbers = [name for name, value in runs[0]["balance"].items() if isinstance(value, float | int)]
    balance = {name: _spread([float(run["balance"][name]) for run in runs]) for name in numbers}
    return {"metrics": figures, "balance": balance, "seconds": _spread([run["seconds"] for run in runs])}


def _paired(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[str, Any]:
    differences = {}
    for name in first[0]["metrics"]:
        values = [b["metrics"][name] - a["metrics"][name] for a, b in zip(first, second, strict=True)]
        differences[name] = {
            **_spread(values),
            "higher": sum(value > 0 for value in values),
            "of": len(values),
        }
    return differences


def _verdict(runs: dict[str, list[dict[str, Any]]]) -> str | None:
    """What the seeds say of ips-wbm in AUC: against naive, and against the controls that tell where a gain is from."""
    if not {"naive", "ips-wbm"} <= set(runs):
        return None
    figure = _paired(runs["naive"], runs["ips-wbm"])["auc"]
    higher, of = figure["higher"], figure["of"]
    if higher == of:
        outcome = "beats naive in AUC in every seed"
    elif higher == 0:
        outcome = "does not beat naive in AUC in any seed"
    else:
        outcome = f"does not beat naive consistently (AUC higher in {higher} of {of} seeds)"
    few = "; so few seeds show a tendency at most" if of < 5 else ""
    lines = [f"In this run ips-wbm {outcome}: mean paired difference {_interval(figure)}, {of} seed(s){few}."]
    for name, meaning in (
        ("constant", "a constant propensity (what flattening the weights alone gives)"),
        ("multi-ips", "itself without balancing, multi-ips (what the balance alone adds)"),
        ("ips-v2", "balancing of moments, ips-v2"),
        ("oracle", "the true propensities, oracle"),
    ):
        if name in runs:
            lines.append(f"Against {meaning}: {_interval(_paired(runs[name], runs['ips-wbm'])['auc'])}.")
    return "\n".join(lines)


def _interval(figure: Mapping[str, Any]) -> str:
    """Mean difference with its 95 % t-interval over seeds."""
    mean, sd, n = figure["mean"], figure["sd"], figure["of"]
    if sd is None:
        return f"{mean:+.4f}"
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
