"""Checks of arguments that several losses take: a typed error names the argument, what was expected, what came."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbm_ext.solver.checks import is_transformed


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


def check_points(name: str, value: Tensor, size: int | None = None) -> None:
    """A floating-point tensor (B, k).

    Raises
    ------
    TypeError, ValueError
        No tensor, or not of that shape and type.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name} must be floating-point, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")
    if value.dim() != 2 or (size is not None and value.shape[0] != size):
        expected = "(B, k)" if size is None else f"({size}, k)"
        raise ValueError(f"{name} must have shape {expected}, got {tuple(value.shape)}")


def check_batch(treatment: Tensor, size: int, like: str) -> Tensor:
    """The treatment as a bool tensor (B,); on the CPU its values are looked at.

    Raises
    ------
    TypeError, ValueError
        No tensor, another shape, values other than 0 and 1.
    """
    if not isinstance(treatment, Tensor):
        raise TypeError(f"treatment must be a torch.Tensor, got {type(treatment).__name__}")
    if treatment.shape != (size,):
        raise ValueError(f"treatment must have the shape of {like}, ({size},), got {tuple(treatment.shape)}")
    if treatment.dtype == torch.bool:
        return treatment
    if treatment.device.type == "cpu" and not is_transformed(treatment):
        wrong = (treatment != 0) & (treatment != 1)
        if bool(wrong.any()):
            k = int(wrong.nonzero()[0])
            raise ValueError(f"treatment must be 0 or 1, got treatment[{k}] = {treatment[k].item()}")
    return treatment > 0.5


def check_propensity(propensity: Tensor, logits: bool, *, positive: bool = False) -> Tensor:
    """Propensities (B,) or their logits, in at least float32; on the CPU their values are looked at.

    ``positive``: a propensity of 0 will not do, nor a logit of -inf.

    Raises
    ------
    TypeError, ValueError
        No tensor, not a vector of floating-point numbers, outside [0, 1], a NaN.
    """
    if not isinstance(propensity, Tensor):
        raise TypeError(f"propensity must be a torch.Tensor, got {type(propensity).__name__}")
    if not propensity.dtype.is_floating_point or propensity.dim() != 1:
        raise ValueError(
            f"propensity must be a floating-point tensor of shape (B,), got {propensity.dtype} of shape "
            f"{tuple(propensity.shape)}"
        )
    if propensity.device.type == "cpu" and not is_transformed(propensity):
        q = propensity.detach()
        right = ~q.isnan() if logits else (q >= 0) & (q <= 1)
        if positive:
            right = right & (q > -math.inf if logits else q > 0)
        if not bool(right.all()):
            wrong = int((~right).nonzero()[0])
            expected = "a logit" if logits else "in (0, 1]" if positive else "in [0, 1]"
            if positive and logits:
                expected += " above -inf"
            hint = "" if logits else "; pass logits=True for logits"
            raise ValueError(f"propensity must be {expected}, got propensity[{wrong}] = {float(q[wrong])}{hint}")
    return propensity if propensity.dtype == torch.float64 else propensity.float()


def check_weights(name: str, weights: Tensor) -> None:
    """Weights (..., n) ≥ 0; on the CPU their values are looked at.

    Raises
    ------
    TypeError, ValueError
        No tensor, a scalar, a weight that is negative or NaN.
    """
    if not isinstance(weights, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(weights).__name__}")
    if weights.dim() < 1:
        raise ValueError(f"{name} must have shape (..., n), got {tuple(weights.shape)}")
    if weights.device.type == "cpu" and not is_transformed(weights):
        wrong = ~(weights.detach() >= 0)
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            raise ValueError(f"{name} must be at least 0, got {name}{place} = {float(weights.detach()[tuple(place)])}")
