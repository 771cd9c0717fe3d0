"""Losses over the solver: functions, and ``nn.Module`` forms of them."""

from wbm_ext.losses.balancing import Balance, balance, wbm
from wbm_ext.losses.costs import squared_distances
from wbm_ext.losses.masses import effective_sample_size, inverse_propensity_masses
from wbm_ext.losses.modules import WBMLoss

__all__ = [
    "Balance",
    "WBMLoss",
    "balance",
    "effective_sample_size",
    "inverse_propensity_masses",
    "squared_distances",
    "wbm",
]
