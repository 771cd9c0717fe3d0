"""From raw arguments to a :class:`Problem` and :class:`Options`, or a typed error; none of it reads the device.

Every rejection names the argument, what was expected and what came. What only the data can show (NaN, negative or
unequal masses, isolated rows) is found by the solver itself and reported by :mod:`wbm_ext.solver.status`.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.errors import check_name
from wbm_ext.solver.problem import (
    CRITERIA,
    GRADIENTS,
    METHODS,
    REFERENCES,
    SINKHORN,
    UNROLLED,
    VALIDATIONS,
    Kappa,
    Options,
    Problem,
    Strength,
    computed_in,
)
from wbm_ext.solver.result import SinkhornResult

_INF = float("inf")
_SHORT = (torch.float16, torch.bfloat16)
_PLAIN = {Tensor, torch.nn.Parameter, type(None)}
_TYPES = (torch.float32, torch.float64, *_SHORT)


_is_batched = torch._C._functorch.is_legacy_batchedtensor
_is_compiling = torch.compiler.is_compiling


def is_transformed(*values: Tensor | None) -> bool:
    """Whether values are followed: a graph is being traced, or ``torch.func`` or forward mode is at work."""
    return (
        _is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or not _PLAIN.issuperset(map(type, values))
    )


def is_followed(*upstream: Tensor | None) -> bool:
    """The same of upstream gradients, which may besides be many in one (``is_grads_batched``)."""
    for x in upstream:
        if x is not None and _is_batched(x):
            return True
    return is_transformed(*upstream)


def _require_tensor(name: str, value: object) -> Tensor:
    """A tensor with an entry for every index: neither sparse nor nested."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested:
        kind = "a nested tensor" if value.is_nested else f"layout {value.layout}"
        raise TypeError(f"{name} must be a dense tensor, got {kind}")
    return value


def check_cost(D: object) -> Tensor:
    D = _require_tensor("D", D)
    if D.dtype not in _TYPES:
        raise TypeError(f"D must be float32, float64, float16 or bfloat16, got {D.dtype}")
    if D.dim() < 2:
        raise ValueError(f"D must have shape (..., n, m), got {tuple(D.shape)}")
    if D.shape[-1] == 0 or D.shape[-2] == 0:
        raise ValueError(f"D must have at least one row and one column, got shape {tuple(D.shape)}")
    return D


def _autocast(D: Tensor) -> bool:
    """Under autocast other operations deliver masses in 16 bits; they are lifted to float32 like D."""
    return torch.is_autocast_enabled(D.device.type)


def check_mass(name: str, mass: object, size: int, D: Tensor, kind: torch.dtype) -> Tensor:
    mass = _require_tensor(name, mass)
    if mass.dtype != kind and mass.dtype in _SHORT and kind == torch.float32 and _autocast(D):
        mass = mass.float()
    if mass.dtype != kind:
        raise TypeError(f"{name} must be {kind} for D of {D.dtype}, got {mass.dtype}")
    if mass.device != D.device:
        raise ValueError(f"{name} must be on the device of D ({D.device}), got {mass.device}")
    if mass.dim() < 1 or mass.shape[-1] != size:
        axis = "n" if name == "a" else "m"
        if name == "a" and mass.dim() > 1 and mass.shape[-1] == D.shape[-1]:
            raise ValueError(
                f"a must have shape (..., n) = (..., {size}) for a cost matrix D of shape {tuple(D.shape)}, got "
                f"{tuple(mass.shape)}; of two point clouds x and y pass D = wbm_ext.losses.squared_distances(x, y), or "
                "call wbm_ext.losses.sinkhorn_divergence(x, y)"
            )
        raise ValueError(
            f"{name} must have shape (..., {axis}) = (..., {size}) for D of shape {tuple(D.shape)}, "
            f"got {tuple(mass.shape)}"
        )
    return mass


def check_mask(mask: object, D: Tensor) -> Tensor | None:
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


def broadcast(named: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return tuple(torch.broadcast_shapes(*named.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {shape}" for name, shape in named.items())
        raise ValueError(f"the leading dimensions must broadcast together, got {shapes}") from None


def positive_number(name: str, value: object, *, infinite: bool) -> float:
    """Return an ε or κ that is no tensor as a float > 0, or raise."""
    given = value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            value = float(value) if not isinstance(value, (bool, str)) else None  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = None
        if value is None:
            raise TypeError(f"{name} must be a number or a tensor with one value per problem, got {given!r}")
    try:
        value = float(value)
    except OverflowError:  # an int beyond the range of float64
        value = _INF
    if not value > 0 or (value == _INF and not infinite):
        limit = "positive (inf = a hard marginal)" if infinite else "positive and finite"
        raise ValueError(f"{name} must be {limit}, got {value}")
    return value


def check_strength(
    name: str, value: object, batch: tuple[int, ...], like: Tensor, grad: str, *, infinite: bool
) -> Strength:
    """A number, or a float64 tensor of shape () or (B,) on the device of D."""
    if not isinstance(value, Tensor):
        return positive_number(name, value, infinite=infinite)
    _require_tensor(name, value)
    if value.requires_grad and torch.is_grad_enabled() and grad != "implicit":
        raise NotImplementedError(
            f"{name} requires a gradient, which grad={grad!r} does not give; use grad='implicit' "
            f"or pass {name}.detach()"
        )
    if not (value.dtype.is_floating_point or value.dtype in (torch.int32, torch.int64)):
        raise TypeError(f"{name} must be a real tensor, got {value.dtype}")
    if (
        value.dim() == 0
        and value.device.type == "cpu"
        and not is_transformed(value)
        and not torch.compiler.is_compiling()
    ):
        number = positive_number(name, value.item(), infinite=infinite)
        if not value.requires_grad:
            return number
        value = value.to(like.device)
    if value.device != like.device:
        raise ValueError(f"{name} must be on the device of D ({like.device}), got {value.device}")
    try:
        fits = torch.broadcast_shapes(value.shape, batch) == torch.Size(batch)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must have one value per problem, shape {batch}, got {tuple(value.shape)}")
    value = value.to(torch.float64).expand(batch)
    return value if len(batch) < 2 else value.reshape(-1)


def check_kappa(kappa: object, batch: tuple[int, ...], like: Tensor, grad: str) -> tuple[float, float] | Tensor:
    """One number or tensor for both sides, or a pair with one for each."""
    if isinstance(kappa, float) and kappa > 0:
        return kappa, kappa
    if isinstance(kappa, (tuple, list)):
        if len(kappa) != 2:
            raise ValueError(f"kappa must be a number, a tensor or a pair (rows, columns), got {len(kappa)} values")
        rows, columns = (
            check_strength(f"kappa[{k}]", value, batch, like, grad, infinite=True) for k, value in enumerate(kappa)
        )
    else:
        rows = columns = check_strength("kappa", kappa, batch, like, grad, infinite=True)
    if isinstance(rows, float) and isinstance(columns, float):
        return rows, columns
    count = (math.prod(batch),) if batch else ()
    sides = [
        side if isinstance(side, Tensor) else torch.full(count, side, dtype=torch.float64, device=like.device)
        for side in (rows, columns)
    ]
    return torch.stack(sides, -1)


def check_init(init: object, batch: tuple[int, ...], D: Tensor) -> Tensor | None:
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
        target = (*batch, size)
        fits = all(have in (1, want) for have, want in zip(reversed(value.shape), reversed(target), strict=False))
        if not fits or value.dim() > len(target):
            raise ValueError(f"{name} must have shape {target}, got {tuple(value.shape)}")
    return pair[1].detach().expand(*batch, D.shape[-1]).reshape(-1, D.shape[-1])


def option(argument: str, value: str, table: dict[str, int]) -> int:
    try:
        return table[value]
    except (KeyError, TypeError):
        return table[check_name(argument, value, table)]


def check_stop(tol: object, max_iter: object) -> tuple[float, int]:
    if isinstance(tol, bool) or not isinstance(tol, (int, float, numbers.Real)):
        raise TypeError(f"tol must be a number, got {type(tol).__name__}")
    bound = float(tol)
    if not 0 <= bound < _INF:
        raise ValueError(f"tol must be finite and at least 0 (0 = exactly max_iter iterations), got {tol}")
    if isinstance(max_iter, bool) or not isinstance(max_iter, (int, numbers.Integral)):
        raise TypeError(f"max_iter must be an int, got {type(max_iter).__name__}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}")
    return bound, int(max_iter)


class Checked(NamedTuple):
    """A solve's arguments after their checks."""

    problem: Problem
    options: Options
    batch: tuple[int, ...]  # of the results
    read: bool  # whether the status is to be read, which waits for a device
    followed: bool  # whether the values are: a call for the registered operators


def _reads_16_bits(D: Tensor) -> bool:
    """Whether the kernels of D's device read its 16-bit types themselves."""
    return BACKEND == "native" and D.is_cuda


def _flat(x: Tensor, batch: tuple[int, ...], own: int) -> Tensor:
    """x with ``own`` dimensions behind the batch, which is brought to no dimension or one; x itself where it is."""
    lead = x.shape[: x.dim() - own]
    if len(batch) < 2:
        return x if lead == batch else x.expand(*batch, *x.shape[-own:])
    return x.expand(*batch, *x.shape[-own:]).reshape(-1, *x.shape[-own:])


def prepare(
    D: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: Strength | None,
    kappa: Kappa,
    reference: str,
    grad: str,
    method: str,
    tol: float,
    max_iter: int,
    criterion: str,
    init: object,
    mask: Tensor | None,
    validate: str,
) -> Checked:
    """Check every argument and flatten the batch; see :func:`wbm_ext.solve` for their meaning."""
    D = check_cost(D)
    kind = computed_in(D.dtype)
    *lead, n, m = D.shape
    batch = tuple(lead)
    if a is not None:
        a = check_mass("a", a, n, D, kind)
    if b is not None:
        b = check_mass("b", b, m, D, kind)
    mask = check_mask(mask, D)
    shapes = {
        name: tuple(x.shape[: x.dim() - own])
        for name, x, own in (("D", D, 2), ("a", a, 1), ("b", b, 1), ("mask", mask, 2))
        if x is not None
    }
    if any(shape != batch for shape in shapes.values()):
        batch = broadcast(shapes)

    measure, gradient = option("reference", reference, REFERENCES), option("grad", grad, GRADIENTS)
    how, test = option("method", method, METHODS), option("criterion", criterion, CRITERIA)
    if gradient == UNROLLED:  # plain iterations, so that there is something to differentiate
        how = SINKHORN
    if validate not in VALIDATIONS:
        check_name("validate", validate, VALIDATIONS)
    tol, max_iter = check_stop(tol, max_iter)
    problem = Problem(
        _flat(D if D.dtype == kind or _reads_16_bits(D) else D.to(kind), batch, 2),
        None if a is None else _flat(a, batch, 1),
        None if b is None else _flat(b, batch, 1),
        None if epsilon is None else check_strength("epsilon", epsilon, batch, D, grad, infinite=False),
        check_kappa(kappa, batch, D, grad),
        None if mask is None else _flat(mask, batch, 2),
        measure,
    )
    options = Options(how, test, gradient, tol, max_iter, None if init is None else check_init(init, batch, D))
    followed = is_transformed(D, a, b, mask) or D.device.type not in ("cpu", "cuda")
    return Checked(problem, options, batch, validate == "full" or (validate == "auto" and D.is_cpu), followed)
