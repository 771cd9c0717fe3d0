"""Losses over the solver: functions, and ``nn.Module`` forms of them.

Transport: :func:`wbm`, :func:`rmpr`, :func:`escfr_discrepancy`, :func:`sinkhorn_divergence`; each has a form that
returns its diagnostics too (:func:`balance`, :func:`relaxed_transport`, :func:`escfr_transport`,
:func:`debiased_transport`). Moments: :func:`mmd`, :func:`linear_discrepancy`, :func:`moment_balance`.
"""

from wbm_ext.losses.balancing import Balance, balance, wbm
from wbm_ext.losses.costs import pfor_cost, squared_distances
from wbm_ext.losses.discrepancy import Discrepancy
from wbm_ext.losses.divergence import debiased_transport, sinkhorn_divergence
from wbm_ext.losses.escfr import escfr_discrepancy, escfr_transport
from wbm_ext.losses.masses import effective_sample_size, inverse_propensity_masses
from wbm_ext.losses.modules import ESCFRLoss, MMDLoss, RMPRLoss, SinkhornDivergence, WBMLoss
from wbm_ext.losses.moment_balancing import moment_balance
from wbm_ext.losses.moments import linear_discrepancy, median_bandwidth, mmd
from wbm_ext.losses.relaxed import relaxed_transport, rmpr

__all__ = [
    "Balance",
    "Discrepancy",
    "ESCFRLoss",
    "MMDLoss",
    "RMPRLoss",
    "SinkhornDivergence",
    "WBMLoss",
    "balance",
    "debiased_transport",
    "effective_sample_size",
    "escfr_discrepancy",
    "escfr_transport",
    "inverse_propensity_masses",
    "linear_discrepancy",
    "median_bandwidth",
    "mmd",
    "moment_balance",
    "pfor_cost",
    "relaxed_transport",
    "rmpr",
    "sinkhorn_divergence",
    "squared_distances",
    "wbm",
]
