"""Entropic optimal transport on a given cost matrix: the solver, its operators and its reference twin."""

from wbm_ext.solver.api import sinkhorn, solve
from wbm_ext.solver.points import PointsPlan, PointsResult, solve_points
from wbm_ext.solver.result import SinkhornResult
from wbm_ext.solver.status import Status

__all__ = ["PointsPlan", "PointsResult", "SinkhornResult", "Status", "sinkhorn", "solve", "solve_points"]
