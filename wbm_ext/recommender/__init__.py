"""Debiased recommenders with one contract: ``create(name).fit(ratings)``, ``predict``, ``recommend``,
``propensity``.

:func:`systems` lists the names, :func:`describe` says what each one is, :func:`published` gives the parameters of the
public scripts. All are a choice of loss terms over shared base models (matrix factorisation, towers on shared
embeddings), trained by one loop.
"""

from __future__ import annotations

from wbm_ext.recommender.balance import balance_report
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.comparison import compare
from wbm_ext.recommender.published import published
from wbm_ext.recommender.registry import Description, create, describe, systems

__all__ = ["Description", "Recommender", "balance_report", "compare", "create", "describe", "published", "systems"]
