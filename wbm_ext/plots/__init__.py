"""Figures. Every function takes data and returns a matplotlib Figure that no global state knows of."""

from __future__ import annotations

from wbm_ext.plots.recommendation import plot_balance, plot_metrics, plot_training
from wbm_ext.plots.transport import TransportPanel, plot_transport

__all__ = ["TransportPanel", "plot_balance", "plot_metrics", "plot_training", "plot_transport"]
