"""Figures. Every function takes data and returns a matplotlib Figure that no global state knows of."""

from __future__ import annotations

from wbm_ext.plots.recommendation import plot_balance, plot_metrics, plot_training

__all__ = ["plot_balance", "plot_metrics", "plot_training"]
