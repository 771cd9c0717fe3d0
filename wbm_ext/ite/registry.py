"""Systems by name."""

from __future__ import annotations

from typing import Any

from wbm_ext.ite.balancing import BNN, CFRMMD
from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.disentangled import DRCFR, MIMDRCFR
from wbm_ext.ite.forests import CausalForest, OrthogonalForest
from wbm_ext.ite.learners import SLearner, TARNet, TLearner
from wbm_ext.ite.matching import KNN, PSM
from wbm_ext.ite.regressions import OLS, RandomForest
from wbm_ext.ite.transport import ESCFR, CFRWass
from wbm_ext.parameters import make

_CLASSES = (
    *(OLS, RandomForest, SLearner, TLearner, TARNet, CausalForest, OrthogonalForest, KNN, PSM),
    *(BNN, CFRMMD, CFRWass, ESCFR, DRCFR, MIMDRCFR),
)
_SYSTEMS: dict[str, type[EffectEstimator]] = {system.name: system for system in _CLASSES}


def systems() -> list[str]:
    """Return the names that :func:`create` knows."""
    return list(_SYSTEMS)


def create(name: str, **params: Any) -> EffectEstimator:
    """Return a new, unfitted system.

    Parameters
    ----------
    name : str
        One of :func:`systems`.
    **params
        Parameters of that system's class.

    Raises
    ------
    UnknownNameError
        If the system, or one of the parameters, does not exist; the message holds the nearest valid name.
    """
    return make(_SYSTEMS, name, params)
