"""One run: fit a system once, and judge every epoch by the validation criteria and, where it is reported, by the truth.

The validation part alone chooses epochs and hyper-parameters, by factual outcomes; the truth is for the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from python_benchmarks._study import Cell
from python_benchmarks.treatment_effects import regularisers
from python_benchmarks.treatment_effects.data import Parts, parts
from python_benchmarks.treatment_effects.judging import RULES, Watcher, by_rule, figures
from wbm_ext.ite import create
from wbm_ext.ite.neural import NeuralEstimator

SLOW, FEW = "orthogonal-forest", 1000
"""It refits at every point it is asked for; above so many units its figures within the sample are left out."""

CRITERION = "factual"
"""By which hyper-parameters are searched, and which the headline figures rest on unless another is asked for."""


def parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as estimators take them; JSON has no infinity, so "inf" stands for it."""
    return {name: math.inf if value == "inf" else value for name, value in params.items()}


def evaluate(cell: Cell) -> dict[str, Any]:
    """Fit and judge.

    Returns
    -------
    dict
        In a search ``validation``: the smallest factual error of an epoch on the validation part, in standard
        deviations of its outcomes; the test part is not touched. For a reported cell ``metrics``, named
        ``rule.metric`` for every rule of :data:`~python_benchmarks.treatment_effects.judging.RULES`; for networks also
        ``epochs`` (chosen by each rule), ``curve`` (criteria and test PEHE of every epoch) and ``diagnostics`` (means
        of the last epoch).
    """
    model = create(cell.system, **parameters(cell.params), random_state=cell.seed)
    split = parts(cell)
    if isinstance(model, NeuralEstimator):
        return _network(model, split, cell.purpose)
    train, test = split.train, split.test
    model.fit(train.encoded()[0], train.y, treatment=train.treatment)
    whole = model.name != SLOW or len(train) <= FEW
    inside = model.predict_outcomes(train.encoded()[0]) if whole else None
    same = _both(split, inside, model.predict_outcomes(test.encoded()[0]))
    return {"metrics": by_rule(dict.fromkeys(RULES, same))}


def _network(model: NeuralEstimator, split: Parts, purpose: str) -> dict[str, Any]:
    train, validation = split.train, split.validation
    model.set_params(selection=CRITERION, patience=model.epochs)
    watcher = None if purpose == "search" else Watcher(model, train, split.test, model.epochs)
    model.fit(
        train.encoded()[0],
        train.y,
        treatment=train.treatment,
        validation=(validation.encoded()[0], validation.y, validation.treatment),
        callbacks=[] if watcher is None else [watcher],
    )
    if watcher is None:
        best = min(model.history_.column(f"validation_{CRITERION}"))
        return {"validation": best / float(validation.y.std())}
    return {
        "metrics": by_rule({rule: _both(split, *watcher.outcomes[rule]) for rule in RULES}),
        "epochs": watcher.epoch,
        "curve": watcher.curve,
        "diagnostics": regularisers.diagnostics(model.history_.records),
    }


def _both(split: Parts, inside: np.ndarray | None, outside: np.ndarray) -> dict[str, float]:
    everyone = np.concatenate([part.effect() for part in (split.train, split.validation, split.test)])
    spread = float(everyone.std())
    spread = spread if spread > 1e-9 * max(1.0, abs(float(everyone.mean()))) else 0.0
    within = {} if inside is None else figures(split.train, inside, spread, "in")
    return within | figures(split.test, outside, spread, "out")
