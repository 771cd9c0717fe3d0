"""Transport between two point sets in the plane: masses as marker areas, plans as lines and as matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wbm_ext.errors import require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TREATED, UNTREATED = "#D55E00", "#0072B2"  # Okabe and Ito
_LIGHT = 0.22
_FAINT = 0.02  # of the largest entry: smaller ones are not drawn


@dataclass(frozen=True, eq=False)
class TransportPanel:
    """One panel: two weighted point sets, and what is drawn between them.

    Attributes
    ----------
    title : str
    x, y : array (n, 2), (m, 2)
        Treated and untreated points.
    dark_x, dark_y : array (n,), (m,)
        Masses drawn dark: those after reweighting, or those transported.
    light_x, light_y : array, optional
        Masses drawn light; uniform with total 1 by default.
    plan : array (n, m), optional
        Lines as wide and dense as their share of the largest entry.
    score : callable (k, 2) -> (k,), optional
        The line where it is 0 is drawn dashed (a decision boundary).
    """

    title: str
    x: Any
    y: Any
    dark_x: Any
    dark_y: Any
    light_x: Any = None
    light_y: Any = None
    plan: Any = None
    score: Callable[[np.ndarray], np.ndarray] | None = None


def plot_transport(
    panels: Sequence[TransportPanel],
    *,
    columns: int | None = None,
    matrices: bool = False,
    area: float = 90.0,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
) -> Figure:
    """Draw weighted point sets and the transport between them, a panel each.

    The area of a marker is its mass: ``area`` points² for the mean mass of its side. Light discs are the masses before,
    dark ones those after (reweighted, or transported).

    Parameters
    ----------
    panels : sequence of TransportPanel
        Row by row.
    columns : int, optional
        Panels a row; default all.
    matrices : bool
        Draw each plan as a matrix above its panel (rows treated, columns untreated).
    labels : pair of str
        Of the horizontal and the vertical axis.

    Raises
    ------
    ValueError
        No panel; points that are not in the plane; masses or a plan of another size.
    MissingExtraError
        Without matplotlib.
    """
    if not panels:
        raise ValueError("panels must hold at least one TransportPanel, got none")
    for panel in panels:
        _check(panel)
    module = require_extra("matplotlib.figure", "plot", "drawing a figure")
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    kinds = 2 if matrices else 1
    heights = [1.5, 2.6] * rows if matrices else [2.6] * rows
    figure = module.Figure(figsize=(3.0 * columns, sum(heights) + 0.4), layout="constrained")
    grid = figure.subplots(rows * kinds, columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        if matrices:
            _draw_matrix(grid[row * kinds, column], panel)
        axes = grid[row * kinds + kinds - 1, column]
        _draw_points(axes, panel, area)
        axes.set_xlabel(labels[0], fontsize=8)
        axes.set_ylabel(labels[1] if column == 0 else "", fontsize=8)
        grid[row * kinds, column].set_title(panel.title, fontsize=8)
    for unused in range(len(panels), rows * columns):
        row, column = divmod(unused, columns)
        for kind in range(kinds):
            grid[row * kinds + kind, column].set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure


def _check(panel: TransportPanel) -> None:
    sizes = []
    for name in ("x", "y"):
        points = np.asarray(getattr(panel, name))
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{name} must have shape (n, 2), got {points.shape} in {panel.title!r}")
        sizes.append(len(points))
        for kind in ("dark", "light"):
            masses = getattr(panel, f"{kind}_{name}")
            if masses is not None and np.shape(masses) != (len(points),):
                raise ValueError(
                    f"{kind}_{name} must have shape ({len(points)},), got {np.shape(masses)} in {panel.title!r}"
                )
    if panel.plan is not None and np.shape(panel.plan) != tuple(sizes):
        raise ValueError(f"plan must have shape {tuple(sizes)}, got {np.shape(panel.plan)} in {panel.title!r}")


def _draw_points(axes: Axes, panel: TransportPanel, area: float) -> None:
    x, y = np.asarray(panel.x), np.asarray(panel.y)
    if panel.plan is not None and np.any(panel.plan):
        collections = require_extra("matplotlib.collections", "plot", "drawing a figure")
        shares = np.asarray(panel.plan) / np.max(panel.plan)
        rows, columns = np.nonzero(shares > _FAINT)
        share = shares[rows, columns]
        shades = np.stack([np.full_like(share, 0.25)] * 3 + [0.2 + 0.6 * share], 1)
        ends = np.stack([x[rows], y[columns]], 1)
        axes.add_collection(collections.LineCollection(ends, linewidths=0.4 + 1.2 * share, colors=shades, zorder=1))
    for points, dark, light, colour in (
        (x, panel.dark_x, panel.light_x, TREATED),
        (y, panel.dark_y, panel.light_y, UNTREATED),
    ):
        uniform = np.full(len(points), 1.0 / len(points))
        before = uniform if light is None else np.asarray(light)
        unit = area / before.mean()
        axes.scatter(*points.T, s=unit * before, color=colour, alpha=_LIGHT, linewidths=0, zorder=2)
        axes.scatter(*points.T, s=unit * np.asarray(dark), color=colour, alpha=0.85, linewidths=0, zorder=3)
    axes.margins(0.12)
    if panel.score is not None:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        across, up = np.meshgrid(np.linspace(left, right, 120), np.linspace(low, high, 120))
        values = panel.score(np.stack([across.ravel(), up.ravel()], 1)).reshape(across.shape)
        axes.contour(across, up, values, levels=[0.0], colors="k", linestyles="--", linewidths=1.0)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_matrix(axes: Axes, panel: TransportPanel) -> None:
    if panel.plan is None:
        axes.set_axis_off()
        return
    axes.imshow(np.asarray(panel.plan), cmap="Greys", vmin=0.0, aspect="equal", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("untreated", fontsize=7)
    axes.set_ylabel("treated", fontsize=7)
