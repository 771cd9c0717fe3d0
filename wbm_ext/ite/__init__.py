"""Treatment-effect systems with one contract: ``create(name).fit(X, y, treatment=t)``, ``effect``, ``ate``, ``att``.

:func:`systems` lists the names. Statistical: ``ols``, ``random-forest``, ``causal-forest``, ``orthogonal-forest``,
``knn``, ``psm``; networks on factual outcomes: ``s-learner``, ``t-learner``, ``tarnet``; networks that also balance
their representation: ``bnn``, ``cfr-mmd``, ``cfr-wass``, ``escfr``, ``drcfr``, ``mim-drcfr``.
"""

from __future__ import annotations

from wbm_ext.ite.average import AverageEffect
from wbm_ext.ite.balancing import BNN, CFRMMD
from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.defaults import TABLE as DEFAULTS
from wbm_ext.ite.disentangled import DRCFR, MIMDRCFR
from wbm_ext.ite.forests import CausalForest, OrthogonalForest
from wbm_ext.ite.learners import SLearner, TARNet, TLearner
from wbm_ext.ite.matching import KNN, PSM
from wbm_ext.ite.refutation import Refutation, Sensitivity, refute, sensitivity
from wbm_ext.ite.registry import create, systems
from wbm_ext.ite.regressions import OLS, RandomForest
from wbm_ext.ite.summary import EffectSummary, summarise
from wbm_ext.ite.transport import ESCFR, CFRWass, TransportPlan

__all__ = [
    "BNN",
    "CFRMMD",
    "DEFAULTS",
    "DRCFR",
    "ESCFR",
    "KNN",
    "MIMDRCFR",
    "OLS",
    "PSM",
    "AverageEffect",
    "CFRWass",
    "CausalForest",
    "EffectEstimator",
    "EffectSummary",
    "OrthogonalForest",
    "RandomForest",
    "Refutation",
    "SLearner",
    "Sensitivity",
    "TARNet",
    "TLearner",
    "TransportPlan",
    "create",
    "refute",
    "sensitivity",
    "summarise",
    "systems",
]
