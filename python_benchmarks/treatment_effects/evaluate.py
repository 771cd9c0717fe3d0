"""One run: fit a system once, and evaluate every epoch by the validation criteria and, where reported, by the truth.

The validation part alone chooses epochs and hyper-parameters, by factual outcomes; the truth is for the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from python_benchmarks._study import Cell
from python_benchmarks.treatment_effects import regularisers
from python_benchmarks.treatment_effects.data import Parts, parts
from wbm_ext.datasets import Treatments
from wbm_ext.ite import EffectEstimator, create
from wbm_ext.ite.neural import NeuralEstimator
from wbm_ext.ite.selection import CRITERIA, loss_of
from wbm_ext.metrics import ate_error, att_error, auuc, pehe, predicted_effect, rmse_counterfactual, rmse_factual
from wbm_ext.training import Callback

SLOW, FEW = "orthogonal-forest", 1000
"""It refits at every point it is asked for; above so many units its figures within the sample are left out."""

CRITERION = "factual"
"""By which hyper-parameters are searched, and which the headline figures rest on unless another is asked for."""

RULES = (*CRITERIA, "auuc_late", "last", "oracle")
"""What chooses the epoch. The first three are the validation criteria; "auuc_late": AUUC among the last two thirds of
the epochs; "oracle": PEHE of the test part itself, which nobody has, for orientation only."""

LATE = 1 / 3
Outcomes = NDArray[np.float64]  # (n, 2): without treatment, with treatment


def parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as estimators take them; JSON has no infinity, so "inf" stands for it."""
    return {name: math.inf if value == "inf" else value for name, value in params.items()}


def estimator(system: str, **params: Any) -> EffectEstimator:
    """Return a system with the papers' settings, but for baselines these would leave without effect.

    A kernel of width 1 is saturated in 60 dimensions, and one neighbour is too few: the width is the median distance,
    the number of neighbours that of least error.
    """
    working = {name: None for name in ("bandwidth", "n_neighbors") if name in create(system).get_params()}
    return create(system, preset="paper", **working | params)


def evaluate(cell: Cell) -> dict[str, Any]:
    """Fit and evaluate.

    Returns
    -------
    dict
        In a search ``validation``: the smallest factual error of an epoch on the validation part, in standard
        deviations of its outcomes; the test part is not touched. For a reported cell ``metrics``, named
        ``rule.metric`` for every rule of :data:`~python_benchmarks.treatment_effects.evaluate.RULES`; for networks also
        ``epochs`` (chosen by each rule), ``curve`` (criteria and test PEHE of every epoch) and ``diagnostics`` (means
        of the last epoch).
    """
    model = estimator(cell.system, **parameters(cell.params), random_state=cell.seed)
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
    best_epochs = None if purpose == "search" else BestEpochs(model, train, split.test, model.epochs)
    model.fit(
        train.encoded()[0],
        train.y,
        treatment=train.treatment,
        validation=(validation.encoded()[0], validation.y, validation.treatment),
        callbacks=[] if best_epochs is None else [best_epochs],
    )
    if best_epochs is None:
        best = min(model.history_.column(f"validation_{CRITERION}"))
        return {"validation": best / float(validation.y.std())}
    return {
        "metrics": by_rule({rule: _both(split, *best_epochs.outcomes[rule]) for rule in RULES}),
        "epochs": best_epochs.epoch,
        "curve": best_epochs.curve,
        "diagnostics": regularisers.diagnostics(model.history_.records),
    }


def _both(split: Parts, inside: np.ndarray | None, outside: np.ndarray) -> dict[str, float]:
    everyone = np.concatenate([part.effect() for part in (split.train, split.validation, split.test)])
    spread = float(everyone.std())
    spread = spread if spread > 1e-9 * max(1.0, abs(float(everyone.mean()))) else 0.0
    within = {} if inside is None else figures(split.train, inside, spread, "in")
    return within | figures(split.test, outside, spread, "out")


class BestEpochs(Callback):
    """Follows a fit: the predicted outcomes of the epoch that is best so far by each rule, and a curve of all epochs.

    Parameters
    ----------
    model : estimator
    train, test : Treatments
        ``test`` is read for the record and for "oracle" alone: it decides nothing else.
    epochs : int
    """

    def __init__(self, model: Any, train: Treatments, test: Treatments, epochs: int) -> None:
        self.model, self.effect = model, test.effect()
        self.inputs = tuple(part.encoded()[0] for part in (train, test))
        self.epochs, self.late = epochs, int(LATE * epochs) + 1
        self.best: dict[str, float] = {}
        self.epoch: dict[str, int] = {}
        self.outcomes: dict[str, tuple[Outcomes, Outcomes]] = {}
        self.curve: dict[str, list[float]] = {name: [] for name in (*CRITERIA, "pehe")}

    def on_epoch_end(self, epoch: int, record: dict[str, float]) -> None:
        outside = self.model.predict_outcomes(self.inputs[1])
        error = pehe(self.effect, outside[:, 1] - outside[:, 0])
        figures = {name: record[f"validation_{name}"] for name in CRITERIA}
        for name, value in {**figures, "pehe": error}.items():
            self.curve[name].append(float(f"{value:.4g}"))
        losses = {name: loss_of(name, figures) for name in CRITERIA} | {"oracle": error}
        if epoch >= self.late:
            losses["auuc_late"] = losses["auuc"]
        if epoch == self.epochs:
            losses["last"] = 0.0
        better = [rule for rule, loss in losses.items() if loss < self.best.get(rule, np.inf)]
        if better:
            inside = self.model.predict_outcomes(self.inputs[0])
            for rule in better:
                self.best[rule], self.epoch[rule], self.outcomes[rule] = losses[rule], epoch, (inside, outside)


def figures(data: Treatments, outcomes: Outcomes, spread: float, place: str) -> dict[str, float]:
    """Return the metrics of predicted outcomes on a part of the data.

    Parameters
    ----------
    spread : float
        sd(τ) of the whole data set; 0 where the effect is constant.
    place : {"in", "out"}
        Ending of the names. Within the sample the published columns have the observed outcome in the place of the
        predicted factual one ("replace"); ``*_in_model`` are those of the model.
    """
    without, with_ = outcomes.T
    truth, treated = data.effect(), data.treatment
    found: dict[str, float] = {}
    kinds = {"": "replace", "_model": "model"} if place == "in" else {"": "model"}
    for ending, kind in kinds.items():
        effect = predicted_effect(without, with_, within_sample=kind, y=data.y, treatment=treated)
        found[f"pehe_{place}{ending}"] = pehe(truth, effect)
        found[f"auuc_{place}{ending}"] = auuc(data.y, treated, effect)
    effect = with_ - without
    if spread > 0:
        found[f"scaled_{place}"] = pehe(truth, effect) / spread
    return found | {
        f"ate_{place}": ate_error(truth, effect),
        f"att_{place}": att_error(truth, effect, treated),
        f"rmse_f_{place}": rmse_factual(data.y, treated, without, with_),
        f"rmse_cf_{place}": rmse_counterfactual(data.y_cf, treated, without, with_),
    }


def by_rule(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return {rule: {metric: value}} as one level, names ``rule.metric``."""
    return {f"{rule}.{name}": value for rule, metrics in found.items() for name, value in metrics.items()}
