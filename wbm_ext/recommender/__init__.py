"""Debiased recommenders with one contract: ``create(name).fit(ratings)``, ``predict``, ``recommend``,
``propensity``.

Systems: ``naive`` (matrix factorisation on the observed ratings), ``ips`` (two-stage inverse propensity
scoring), ``ips-wbm`` (propensities trained to balance in transport distance).
"""

from __future__ import annotations

from wbm_ext.recommender.balance import balance_report
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.comparison import compare
from wbm_ext.recommender.ips import IPS
from wbm_ext.recommender.ips_wbm import IPSWBM
from wbm_ext.recommender.naive import Naive
from wbm_ext.recommender.registry import create, systems

__all__ = ["IPS", "IPSWBM", "Naive", "Recommender", "balance_report", "compare", "create", "systems"]
