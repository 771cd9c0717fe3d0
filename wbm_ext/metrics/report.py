"""All numbers of one fitted estimator of treatment effects on one part of a data set."""

from __future__ import annotations

from typing import Any

from wbm_ext.datasets import Treatments
from wbm_ext.metrics.effects import (
    ate_error,
    att_error,
    pehe,
    predicted_effect,
    rmse_counterfactual,
    rmse_factual,
)
from wbm_ext.metrics.uplift import auuc, uplift_curve


def effect_report(
    data: Treatments, predicted0: Any, predicted1: Any, *, within_sample: str = "model"
) -> dict[str, float]:
    """Return every metric that the data allow for predicted outcomes.

    Parameters
    ----------
    data : Treatments
        The units that were predicted.
    predicted0, predicted1 : array, shape (n,)
        Predicted outcome without and with treatment.
    within_sample : {"model", "replace"}
        ``"replace"`` for units of the fit, as published in-sample columns have it; see
        :func:`predicted_effect`. Of no influence on the two RMSE.

    Returns
    -------
    dict
        ``rmse_factual`` and ``auuc`` always; ``pehe``, ``ate_error`` and ``att_error`` with ``mu0`` and ``mu1``;
        ``rmse_counterfactual`` with ``y_cf``. ``auuc`` is NaN where it is undefined (one arm only, equal means),
        ``att_error`` where no unit is treated.

    Raises
    ------
    UnknownNameError, TypeError, ValueError
        As for :func:`predicted_effect`.
    """
    if not isinstance(data, Treatments):
        raise TypeError(f"data must be Treatments; got {type(data).__name__}")
    effect = predicted_effect(predicted0, predicted1, within_sample=within_sample, y=data.y, treatment=data.treatment)
    report = {"rmse_factual": rmse_factual(data.y, data.treatment, predicted0, predicted1)}
    treated = data.treatment == 1
    if data.mu0 is not None:
        truth = data.effect()
        report["pehe"], report["ate_error"] = pehe(truth, effect), ate_error(truth, effect)
        report["att_error"] = att_error(truth, effect, treated) if treated.any() else float("nan")
    if data.y_cf is not None:
        report["rmse_counterfactual"] = rmse_counterfactual(data.y_cf, data.treatment, predicted0, predicted1)
    both = treated.any() and not treated.all()
    defined = both and uplift_curve(data.y, treated, effect)[-1] != 0
    report["auuc"] = auuc(data.y, treated, effect) if defined else float("nan")
    return report
