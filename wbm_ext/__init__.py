"""wbm_ext: entropic optimal transport on a given cost matrix for PyTorch, and the causal models built on it.

``import wbm_ext`` loads the solver and the losses. ``recommender``, ``ite``, ``datasets``, ``metrics``, ``training``
and ``plots`` are loaded when first used; ``load`` reads what ``save`` of an estimator has written.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from wbm_ext import losses
from wbm_ext._native import build_info
from wbm_ext._version import __version__
from wbm_ext.errors import BalanceWarning, ConvergenceWarning
from wbm_ext.loading import load
from wbm_ext.solver import SinkhornResult, Status, sinkhorn, solve

_LAZY = ("datasets", "ite", "metrics", "plots", "recommender", "training")

__all__ = [
    "BalanceWarning",
    "ConvergenceWarning",
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
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"wbm_ext.{name}")
    raise AttributeError(f"module 'wbm_ext' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
