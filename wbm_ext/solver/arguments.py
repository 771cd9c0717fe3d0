"""Arguments of a solve: checked without reading the device, then brought to one shape.

Every rejection names the argument, what was expected and what came. What only the data can show (NaN, negative or
unequal masses, isolated rows) is found by the solver itself and reported by :mod:`wbm_ext.solver.verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wbm_ext.errors import check_name
from wbm_ext.solver.result import SinkhornResult

REFERENCES = {"entropy": 0, "product": 1}
METHODS = {"sinkhorn": 0, "auto": 1}
CRITERIA = {"marginal": 0, "scaling": 1}
GRADIENTS = {"implicit": 0, "frozen": 1, "unrolled": 2}
COSTS = ("sharp", "regularized")
VALIDATIONS = ("auto", "full", "none")

Strength = float | Tensor


@dataclass
class Arguments:
    """A solve's inputs, flat: D (B, n, m), a (B, n), b (B, m), epsilon (B,) or None, kappa (B, 2)."""

    batch: tuple[int, ...]
    cost: Tensor
    a: Tensor
    b: Tensor
    epsilon: Tensor | None
    kappa: Tensor
    mask: Tensor | None
    init_g: Tensor | None
    reference: int
    method: int
    criterion: int
    gradient: int
    tol: float
    max_iter: int


def _require_tensor(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    return value


def _check_cost(D: object) -> Tensor:
    D = _require_tensor("D", D)
    if D.layout != torch.strided:
        raise TypeError(f"D must be a dense tensor, got layout {D.layout}")
    if D.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise TypeError(f"D must be float32, float64, float16 or bfloat16, got {D.dtype}")
    if D.dim() < 2:
        raise ValueError(f"D must have shape (..., n, m), got {tuple(D.shape)}")
    if D.shape[-1] == 0 or D.shape[-2] == 0:
        raise ValueError(f"D must have at least one row and one column, got shape {tuple(D.shape)}")
    return D


def _check_mass(name: str, mass: object, size: int, D: Tensor, kind: torch.dtype) -> Tensor:
    mass = _require_tensor(name, mass)
    if mass.dtype != kind:
        raise TypeError(f"{name} must be {kind} for D of {D.dtype}, got {mass.dtype}")
    if mass.device != D.device:
        raise ValueError(f"{name} must be on the device of D ({D.device}), got {mass.device}")
    if mass.dim() < 1 or mass.shape[-1] != size:
        axis = "n" if name == "a" else "m"
        raise ValueError(
            f"{name} must have shape (..., {axis}) = (..., {size}) for D of shape {tuple(D.shape)}, "
            f"got {tuple(mass.shape)}"
        )
    return mass


def _check_mask(mask: object, D: Tensor) -> Tensor | None:
    if mask is None:
        return None
    mask = _require_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be torch.bool (True = the pair may carry mass), got {mask.dtype}")
    if mask.device != D.device:
        raise ValueError(f"mask must be on the device of D ({D.device}), got {mask.device}")
    if mask.dim() < 2 or mask.shape[-2:] != D.shape[-2:]:
        raise ValueError(
            f"mask must have shape (..., n, m) = (..., {D.shape[-2]}, {D.shape[-1]}), got {tuple(mask.shape)}"
        )
    return mask


def _broadcast(named: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return tuple(torch.broadcast_shapes(*named.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {shape}" for name, shape in named.items())
        raise ValueError(f"the leading dimensions must broadcast together, got {shapes}") from None


def _number(name: str, value: object, *, infinite: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            value = float(value) if not isinstance(value, (bool, str)) else None  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = None
        if value is None:
            raise TypeError(f"{name} must be a number or a tensor with one value per problem")
    value = float(value)
    if not value > 0 or (math.isinf(value) and not infinite):
        limit = "positive (inf = a hard marginal)" if infinite else "positive and finite"
        raise ValueError(f"{name} must be {limit}, got {value}")
    return value


def _strength(name: str, value: object, batch: tuple[int, ...], like: Tensor, *, infinite: bool) -> Strength:
    """A number, or a float64 tensor of the batch shape on the device of D."""
    if not isinstance(value, Tensor):
        return _number(name, value, infinite=infinite)
    if value.requires_grad:
        raise NotImplementedError(f"{name} requires a gradient, which is not available yet; pass {name}.detach()")
    if not (value.dtype.is_floating_point or value.dtype in (torch.int32, torch.int64)):
        raise TypeError(f"{name} must be a real tensor, got {value.dtype}")
    if value.dim() == 0 and value.device.type == "cpu":
        return _number(name, value.item(), infinite=infinite)
    if value.device != like.device:
        raise ValueError(f"{name} must be on the device of D ({like.device}), got {value.device}")
    try:
        fits = torch.broadcast_shapes(value.shape, batch) == torch.Size(batch)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must have one value per problem, shape {batch}, got {tuple(value.shape)}")
    return value.detach().to(torch.float64).expand(batch)


def _flat(value: Strength, batch: tuple[int, ...], like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.reshape(-1)
    return torch.full((math.prod(batch),), value, dtype=torch.float64, device=like.device)


def _kappa(kappa: object, batch: tuple[int, ...], like: Tensor) -> Tensor:
    """(B, 2): one number or tensor for both sides, or a tuple with one for each."""
    if isinstance(kappa, (tuple, list)):
        if len(kappa) != 2:
            raise ValueError(f"kappa must be a number, a tensor or a pair (rows, columns), got {len(kappa)} values")
        sides = [_strength(f"kappa[{k}]", value, batch, like, infinite=True) for k, value in enumerate(kappa)]
    else:
        both = _strength("kappa", kappa, batch, like, infinite=True)
        if not isinstance(both, Tensor):
            return torch.full((math.prod(batch), 2), both, dtype=torch.float64, device=like.device)
        sides = [both] * 2
    return torch.stack([_flat(side, batch, like) for side in sides], 1)


def _init(init: object, batch: tuple[int, ...], D: Tensor) -> Tensor | None:
    """The g to start from: of an earlier result, or of a pair (f, g). An iteration begins with f, so f is not used."""
    if init is None:
        return None
    if isinstance(init, SinkhornResult):
        pair: tuple[Any, ...] = (init._f, init._g)
    elif isinstance(init, (tuple, list)) and len(init) == 2:
        pair = tuple(init)
    else:
        raise TypeError(f"init must be a pair (f, g) or a SinkhornResult, got {type(init).__name__}")
    for name, value, size in (("init[0] (f)", pair[0], D.shape[-2]), ("init[1] (g)", pair[1], D.shape[-1])):
        if value is None and name.startswith("init[0]"):
            continue
        value = _require_tensor(name, value)
        if not value.dtype.is_floating_point:
            raise TypeError(f"{name} must be a floating-point tensor, got {value.dtype}")
        if value.device != D.device:
            raise ValueError(f"{name} must be on the device of D ({D.device}), got {value.device}")
        try:
            value.expand(*batch, size)
        except RuntimeError:
            raise ValueError(f"{name} must have shape {(*batch, size)}, got {tuple(value.shape)}") from None
    return pair[1].detach().expand(*batch, D.shape[-1]).reshape(-1, D.shape[-1])


def _matrix(x: Tensor, batch: tuple[int, ...]) -> Tensor:
    return x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])


def _masses(x: Tensor | None, batch: tuple[int, ...], size: int, D: Tensor) -> Tensor:
    if x is None:
        return torch.full((math.prod(batch), size), 1.0 / size, dtype=torch.float64, device=D.device)
    return x.expand(*batch, size).reshape(-1, size)


def prepare(
    D: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    *,
    epsilon: float | Tensor | None,
    kappa: float | Tensor | tuple[float | Tensor, float | Tensor],
    reference: str,
    grad: str,
    method: str,
    tol: float,
    max_iter: int,
    criterion: str,
    init: object,
    mask: Tensor | None,
    validate: str,
) -> Arguments:
    """Check every argument and flatten the batch; see :func:`wbm_ext.solve` for their meaning."""
    D = _check_cost(D)
    kind = torch.float64 if D.dtype == torch.float64 else torch.float32
    n, m = D.shape[-2:]
    shapes: dict[str, tuple[int, ...]] = {"D": tuple(D.shape[:-2])}
    if a is not None:
        a = _check_mass("a", a, n, D, kind)
        shapes["a"] = tuple(a.shape[:-1])
    if b is not None:
        b = _check_mass("b", b, m, D, kind)
        shapes["b"] = tuple(b.shape[:-1])
    mask = _check_mask(mask, D)
    if mask is not None:
        shapes["mask"] = tuple(mask.shape[:-2])
    batch = _broadcast(shapes) if len(shapes) > 1 else shapes["D"]

    options = {
        "reference": REFERENCES[check_name("reference", reference, REFERENCES)],
        "method": METHODS[check_name("method", method, METHODS)],
        "criterion": CRITERIA[check_name("criterion", criterion, CRITERIA)],
        "gradient": GRADIENTS[check_name("grad", grad, GRADIENTS)],
    }
    check_name("validate", validate, VALIDATIONS)
    if grad == "unrolled":
        options["method"] = METHODS["sinkhorn"]  # plain iterations, so that there is something to differentiate
    if isinstance(tol, bool) or not isinstance(tol, (int, float)):
        raise TypeError(f"tol must be a number, got {type(tol).__name__}")
    if not (tol >= 0 and math.isfinite(tol)):
        raise ValueError(f"tol must be finite and at least 0 (0 = exactly max_iter iterations), got {tol}")
    if isinstance(max_iter, bool) or not isinstance(max_iter, int):
        raise TypeError(f"max_iter must be an int, got {type(max_iter).__name__}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}")

    strength = None if epsilon is None else _strength("epsilon", epsilon, batch, D, infinite=False)
    return Arguments(
        batch=batch,
        cost=_matrix(D if D.dtype == kind else D.to(kind), batch),
        a=_masses(a, batch, n, D),
        b=_masses(b, batch, m, D),
        epsilon=None if strength is None else _flat(strength, batch, D),
        kappa=_kappa(kappa, batch, D),
        mask=None if mask is None else _matrix(mask, batch),
        init_g=_init(init, batch, D),
        tol=float(tol),
        max_iter=max_iter,
        **options,
    )
