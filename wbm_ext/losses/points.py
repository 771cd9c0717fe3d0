"""Two weighted point sets: what every discrepancy of them asks for."""

from __future__ import annotations

import torch
from torch import Tensor


def check_sets(x: Tensor, y: Tensor) -> None:
    """Point sets (..., n, k) and (..., m, k) of floating-point numbers on one device.

    Raises
    ------
    TypeError, ValueError
        Naming argument, expected and got.
    """
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if not value.dtype.is_floating_point:
            raise TypeError(f"{name} must be floating-point, got {value.dtype}")
        if value.dim() < 2:
            raise ValueError(f"{name} must have shape (..., points, k), got {tuple(value.shape)}")
    if y.device != x.device:
        raise ValueError(f"y must be on the device of x ({x.device}), got {y.device}")
    if y.shape[-1] != x.shape[-1]:
        raise ValueError(f"y must have the {x.shape[-1]} coordinates of x, got shape {tuple(y.shape)}")


def check_pair(x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Point sets of one type, 16-bit ones in float32; their masses fit them. Errors: as :func:`check_sets`."""
    check_sets(x, y)
    if y.dtype != x.dtype:
        raise TypeError(f"y must have the type of x, {x.dtype}, got {y.dtype}")
    for name, mass, points in (("a", a, x), ("b", b, y)):
        if mass is None:
            continue
        if not isinstance(mass, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(mass).__name__}")
        if mass.dim() < 1 or mass.shape[-1] != points.shape[-2]:
            raise ValueError(f"{name} must have shape (..., {points.shape[-2]}), got {tuple(mass.shape)}")
    full = x.dtype if x.dtype == torch.float64 else torch.float32
    return x.to(full), y.to(full)
