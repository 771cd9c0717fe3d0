"""wbm_ext: entropic optimal transport on a given cost matrix for PyTorch, and the causal models built on it.

Everything is loaded when first used: the solver and the losses (with torch), ``recommender``, ``ite``, ``datasets``,
``metrics``, ``training`` and ``plots``; ``load`` reads what ``save`` of an estimator has written. Where torch is loaded
already, so is the solver, whose operators a program exported by torch may ask for by name.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from wbm_ext._version import __version__
from wbm_ext.errors import BalanceWarning, ConvergenceWarning, DataWarning

if TYPE_CHECKING:
    from wbm_ext import datasets, ite, losses, metrics, plots, recommender, training
    from wbm_ext._native import build_info
    from wbm_ext.loading import load
    from wbm_ext.solver import PointsResult, SinkhornResult, Status, sinkhorn, solve, solve_points

_SUBPACKAGES = (*("datasets", "ite", "losses", "metrics", "persistence", "plots", "recommender", "solver", "training"),)
_PLACES = {
    **dict.fromkeys(
        ("PointsResult", "SinkhornResult", "Status", "sinkhorn", "solve", "solve_points"), "wbm_ext.solver"
    ),
    "build_info": "wbm_ext._native",
    "load": "wbm_ext.loading",
}

__all__ = [
    "BalanceWarning",
    "ConvergenceWarning",
    "DataWarning",
    "PointsResult",
    "SinkhornResult",
    "Status",
    "__version__",
    "build_info",
    "datasets",
    "ite",
    "load",
    "losses",
    "metrics",
    "plots",
    "recommender",
    "sinkhorn",
    "solve",
    "solve_points",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"wbm_ext.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'wbm_ext' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "torch" in sys.modules:
    importlib.import_module("wbm_ext.losses")
