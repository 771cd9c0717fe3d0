"""Metrics of debiased recommenders: ranking quality, health of weights, estimates of the ideal loss."""

from __future__ import annotations

from wbm_ext.metrics.balance import (
    clipped_share,
    effective_sample_size,
    largest_share,
    propensity_calibration,
)
from wbm_ext.metrics.estimators import dr_estimate, ideal_loss, ips_estimate, naive_estimate, snips_estimate
from wbm_ext.metrics.ranking import auc, f1_at_k, ndcg_at_k, precision_at_k, ranking_report, recall_at_k

__all__ = [
    "auc",
    "clipped_share",
    "dr_estimate",
    "effective_sample_size",
    "f1_at_k",
    "ideal_loss",
    "ips_estimate",
    "largest_share",
    "naive_estimate",
    "ndcg_at_k",
    "precision_at_k",
    "propensity_calibration",
    "ranking_report",
    "recall_at_k",
    "snips_estimate",
]
