"""Cost matrices between two sets of points."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """D_ij = |x_i - y_j|², from one matrix product.

    |x|² + |y|² - 2 x·y loses digits when the points are far from the origin compared with their distances, so both
    sets are first moved by the mean of y; what rounding leaves below 0 is set to 0.

    Parameters
    ----------
    x, y : Tensor, shape (..., n, k) and (..., m, k)
        Points.

    Returns
    -------
    Tensor, shape (..., n, m)
        Squared units of the points.

    Examples
    --------
    >>> import torch
    >>> squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[25.0, 1.0]]
    """
    centre = y.detach().mean(-2, keepdim=True)
    x, y = x - centre, y - centre
    squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    return torch.clamp(squares - 2 * x @ y.mT, min=0.0)
