"""Entropic optimal transport on a given cost matrix: the solver, its operators and its reference twin."""

from wbm_ext.solver.api import sinkhorn, solve
from wbm_ext.solver.result import SinkhornResult
from wbm_ext.solver.status import Status

__all__ = ["SinkhornResult", "Status", "sinkhorn", "solve"]
