"""What is kept of a fit: figures of every epoch, and predictions at the epochs that the rules choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets import Treatments
from wbm_ext.ite.selection import CRITERIA, loss_of
from wbm_ext.metrics import ate_error, att_error, auuc, pehe, predicted_effect, rmse_counterfactual, rmse_factual
from wbm_ext.training import Callback

RULES = (*CRITERIA, "auuc_late", "last", "oracle")
"""What chooses the epoch. The first three are the validation criteria; "auuc_late": AUUC among the last two thirds of
the epochs; "oracle": PEHE of the test part itself, which nobody has, for orientation only."""

LATE = 1 / 3
Outcomes = NDArray[np.float64]  # (n, 2): without treatment, with treatment


class Watcher(Callback):
    """Follows a fit; keeps the predicted outcomes of the epoch that is best so far by each rule.

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
