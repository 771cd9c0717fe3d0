"""One run: fit a system, and evaluate it on its validation pairs (search) or on the unbiased test pairs (report)."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

from python_benchmarks._study import Cell
from python_benchmarks._study.cells import canonical
from wbm_ext.datasets import RatingsDataset, load
from wbm_ext.metrics import auc
from wbm_ext.recommender import Recommender, create
from wbm_ext.recommender.judging import judge

LENGTH = {"coat": 5, "yahoo-r3": 5, "kuairec": 50, "synthetic": 5}
"""Data sets of the study, and the length of the lists for NDCG and F1."""

LIMIT = 1e-6  # probabilities are held inside (LIMIT, 1 - LIMIT) before a logarithm is taken


def dataset(cell: Cell) -> RatingsDataset:
    """Read or generate a cell's data; generated data are drawn anew for every seed."""
    options = dict(cell.data_params)
    if cell.data == "synthetic":
        options["random_state"] = cell.seed
    return _dataset(cell.data, canonical(options))


@functools.lru_cache(maxsize=2)
def _dataset(name: str, options: str) -> RatingsDataset:
    data = load(name, **json.loads(options))
    assert isinstance(data, RatingsDataset)
    return data


def evaluate(cell: Cell) -> dict[str, Any]:
    """Fit and evaluate.

    Returns
    -------
    dict
        Always ``validation`` (the best epoch's value on held-out observed pairs, lower is better), ``best_epoch``,
        ``stopped``. For a reported cell also ``metrics``: ``auc``, ``ndcg``, ``f1`` on the test pairs, ``auc_unseen``
        without those that also stand in train; where the truth is known, ``auc_all`` and ``log_loss_all`` over all
        pairs and ``propensity_loss``, the mean over D of KL(q, q^). A search never touches the test part.
    """
    data = dataset(cell)
    model = create(cell.system, **{"threshold": data.threshold, **cell.params}, random_state=cell.seed)
    model.fit(data.train)
    history = model.history_
    record: dict[str, Any] = {
        "validation": history.best_validation,
        "best_epoch": history.best_epoch,
        "stopped": history.stopped,
    }
    if cell.purpose == "report":
        figures = judge(model, data.test, LENGTH[cell.data])
        record["metrics"] = {name.partition("@")[0]: value for name, value in figures.items()}
        if data.truth is not None and data.propensities is not None:
            record["metrics"] |= _on_all(model, data.truth >= model.threshold, data.propensities)
    return record


def _on_all(model: Recommender, positive: np.ndarray, propensities: np.ndarray) -> dict[str, float]:
    users, items = (part.ravel() for part in np.indices(positive.shape))
    y, q = positive.ravel().astype(np.float64), propensities.ravel()
    r = model.predict(users, items)
    return {
        "auc_all": auc(y, r),
        "log_loss_all": float(_cross_entropy(y, r).mean()),
        "propensity_loss": float((_cross_entropy(q, model.propensity(users, items)) - _cross_entropy(q, q)).mean()),
    }


def _cross_entropy(p: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """-p log p^ - (1 - p) log(1 - p^)."""
    clipped = np.clip(estimate.astype(np.float64), LIMIT, 1 - LIMIT)
    return -p * np.log(clipped) - (1 - p) * np.log1p(-clipped)
