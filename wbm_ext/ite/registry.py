"""Systems by name."""

from __future__ import annotations

import inspect
from typing import Any

from wbm_ext.errors import check_name
from wbm_ext.ite import defaults
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


def create(name: str, *, preset: str | None = None, **params: Any) -> EffectEstimator:
    """Return a new, unfitted system.

    Parameters
    ----------
    name : str
        One of :func:`systems`.
    preset : {"paper"}, optional
        Settings of the papers in the place of the defaults: covariates and outcomes as they are, costs in the units of
        the representation, the entropy of ESCFR's Eq. 8, a Gaussian kernel of width 1, 1 neighbour (psm) or 5 (knn).
    **params
        Parameters of that system's class; they come before the preset.

    Raises
    ------
    UnknownNameError
        If the system, or one of the parameters, does not exist; the message holds the nearest valid name.
    """
    if preset is not None:
        kind = _SYSTEMS[check_name("name", name, _SYSTEMS)]
        params = {**defaults.preset(preset, name, inspect.signature(kind).parameters), **params}
    return make(_SYSTEMS, name, params)
