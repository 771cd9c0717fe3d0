"""The figure of weighted point sets: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from wbm_ext.plots import TransportPanel, plot_transport

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

X, Y = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
A, B = np.array([0.9, 0.1]), np.array([0.2, 0.3, 0.5])
PLAN = np.array([[0.2, 0.3, 0.4], [0.0, 1e-5, 0.1]])


def panel(**more):
    return TransportPanel("a title", X, Y, A, B, **more)


def test_areas_are_masses_and_lines_are_the_plan():
    figure = plot_transport([panel(plan=PLAN)], area=50)
    (axes,) = figure.axes
    lines, *discs = axes.collections
    sizes = [disc.get_sizes() for disc in discs]
    np.testing.assert_allclose(sizes[0], [50, 50])  # light: uniform
    np.testing.assert_allclose(sizes[1], 50 * A / 0.5)
    np.testing.assert_allclose(sizes[3], 50 * B * 3)
    ends = [tuple(map(tuple, segment)) for segment in lines.get_segments()]
    assert set(ends) == {((0, 0), (0, 1)), ((0, 0), (1, 1)), ((0, 0), (2, 1)), ((1, 0), (2, 1))}
    assert ends[int(np.argmax(lines.get_linewidths()))] == ((0, 0), (2, 1))
    assert not plot_transport([panel(plan=np.zeros((2, 3)))]).axes[0].collections[0].get_paths()[1:]


def test_matrices_stand_above_and_unused_places_are_empty(tmp_path):
    figure = plot_transport([panel(plan=PLAN), panel(), panel(plan=PLAN)], columns=2, matrices=True, title="all")
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(figure.axes) == 8
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), PLAN)
    assert len(shown) == 5  # three panels, two matrices
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_the_boundary_is_where_the_score_is_zero():
    figure = plot_transport([panel(score=lambda z: z[:, 0] - 0.7)])
    (path,) = next(c for c in figure.axes[0].collections if hasattr(c, "levels")).get_paths()
    np.testing.assert_allclose(path.vertices[:, 0], 0.7, atol=1e-9)


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], "at least one TransportPanel"),
        ([TransportPanel("p", X[:, :1], Y, A, B)], r"x must have shape \(n, 2\), got \(2, 1\) in 'p'"),
        ([TransportPanel("p", X, Y, A, A)], r"dark_y must have shape \(3,\), got \(2,\) in 'p'"),
        ([TransportPanel("p", X, Y, A, B, plan=PLAN.T)], r"plan must have shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_rejected_with_a_reason(panels, message):
    with pytest.raises(ValueError, match=message):
        plot_transport(panels)
