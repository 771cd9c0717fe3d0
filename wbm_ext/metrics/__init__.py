"""Metrics of debiased recommenders (ranking, weights, estimates of the ideal loss) and of treatment effects."""

from __future__ import annotations

from wbm_ext.metrics.balance import (
    clipped_share,
    effective_sample_size,
    largest_share,
)
from wbm_ext.metrics.calibration import CalibrationCurve, brier_score, calibration_curve, propensity_calibration
from wbm_ext.metrics.effects import (
    ate_error,
    att_error,
    pehe,
    pehe_squared,
    predicted_effect,
    rmse_counterfactual,
    rmse_factual,
)
from wbm_ext.metrics.estimators import dr_estimate, ideal_loss, ips_estimate, naive_estimate, snips_estimate
from wbm_ext.metrics.ranking import (
    auc,
    coverage_at_k,
    f1_at_k,
    hit_rate_at_k,
    ndcg_at_k,
    precision_at_k,
    ranking_report,
    recall_at_k,
    tied_users,
)
from wbm_ext.metrics.report import effect_report
from wbm_ext.metrics.reweighting import reweighted_distance
from wbm_ext.metrics.uplift import auuc, auuc_separate, qini, qini_curve, uplift_curve

__all__ = [
    "CalibrationCurve",
    "ate_error",
    "att_error",
    "auc",
    "auuc",
    "auuc_separate",
    "brier_score",
    "calibration_curve",
    "clipped_share",
    "coverage_at_k",
    "dr_estimate",
    "effect_report",
    "effective_sample_size",
    "f1_at_k",
    "hit_rate_at_k",
    "ideal_loss",
    "ips_estimate",
    "largest_share",
    "naive_estimate",
    "ndcg_at_k",
    "pehe",
    "pehe_squared",
    "precision_at_k",
    "predicted_effect",
    "propensity_calibration",
    "qini",
    "qini_curve",
    "ranking_report",
    "recall_at_k",
    "reweighted_distance",
    "rmse_counterfactual",
    "rmse_factual",
    "snips_estimate",
    "tied_users",
    "uplift_curve",
]
