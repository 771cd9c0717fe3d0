"""Figures of a fitted recommender on ratings that it was not fitted to."""

from __future__ import annotations

from wbm_ext.datasets import Ratings, overlap
from wbm_ext.metrics import auc, ranking_report
from wbm_ext.recommender.base import Recommender


def judge(model: Recommender, test: Ratings, k: int = 5) -> dict[str, float]:
    """Return ``auc``, ``ndcg@k`` and ``f1@k`` on ``test``, for y = 1[rating >= the model's threshold].

    Where some pairs of ``test`` were fitted, ``auc_unseen`` is the AUC without these, if both classes are left.
    """
    labels, scores = test.binarize(model.threshold), model.predict(test.users, test.items)
    metrics = ranking_report(test.users, labels, scores, k=k)
    seen = overlap(model.observed_, test)
    if seen.any() and len(set(labels[~seen].tolist())) == 2:
        metrics["auc_unseen"] = auc(labels[~seen], scores[~seen])
    return metrics
