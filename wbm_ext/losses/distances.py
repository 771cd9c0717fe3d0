"""Squared distances between two sets of points: the operator, its kernel, its derivatives.

D_ij = |x_i - y_j|² is right to a few roundings of each entry wherever the points lie. The CPU kernel takes
|x|² + |y|² - 2 x·y where that loses no digits and differences elsewhere (``csrc/cpu/loss/points.h``); in plain torch,
so on CUDA, differences are taken throughout. With W an upstream gradient the derivatives are

    dL/dx_i = 2 Σ_j W_ij (x_i - y_j),   dL/dy_j = 2 Σ_i W_ij (y_j - x_i),

from differences too. That map is linear in W and in (x, y), so that its own derivative is the same map once more, and
⟨x_i - y_j, u_i - v_j⟩ in W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from wbm_ext._native import BACKEND, core
from wbm_ext.solver.checks import is_followed, is_transformed
from wbm_ext.solver.kernels import in_memory

_BLOCK = 1 << 24  # elements of the differences held at a time in plain torch


def _differences(x: Tensor, y: Tensor) -> list[slice]:
    """Coordinates in slices, so that (..., n, m, slice) differences stay small."""
    pairs = max(1, x.shape[:-1].numel() * y.shape[-2])
    step = max(1, _BLOCK // pairs)
    return [slice(begin, begin + step) for begin in range(0, x.shape[-1], step)]


def _difference(x: Tensor, y: Tensor, part: slice) -> Tensor:
    return x[..., :, None, part] - y[..., None, :, part]


def _inner(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """⟨x_i - y_j, u_i - v_j⟩, (..., n, m), in operations of torch."""
    total = x.new_zeros((*x.shape[:-1], y.shape[-2]))
    for part in _differences(x, y):
        total = total + (_difference(x, y, part) * _difference(u, v, part)).sum(-1)
    return total


def _torch_forward(x: Tensor, y: Tensor) -> Tensor:
    D = x.new_zeros((*x.shape[:-1], y.shape[-2]))
    for part in _differences(x, y):
        D += _difference(x, y, part).square().sum(-1)
    return D


def _torch_backward(w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    d_x, d_y = torch.empty_like(x), torch.empty_like(y)
    for part in _differences(x, y):
        weighted = _difference(x, y, part) * (2 * w)[..., None]
        d_x[..., part] = weighted.sum(-2)
        d_y[..., part] = -weighted.sum(-3)
    return d_x, d_y


def _sets(x: Tensor, y: Tensor) -> tuple[int, int, int, int, bool, int]:
    batch, n, k = x.shape
    return batch, n, y.shape[1], k, x.dtype == torch.float64, torch.get_num_threads()


def _cpu_forward(x: Tensor, y: Tensor) -> Tensor:
    x, y = in_memory("x", x, x.dtype), in_memory("y", y, y.dtype)
    D = torch.empty((*x.shape[:2], y.shape[1]), dtype=x.dtype, device="cpu")
    if D.numel():
        core.cpu_squared_distances(x.data_ptr(), y.data_ptr(), _sets(x, y), D.data_ptr())
    return D


def _cpu_backward(w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = in_memory("x", x, x.dtype), in_memory("y", y, y.dtype)
    w = in_memory("an upstream gradient", w, w.dtype)
    d_x, d_y = torch.zeros_like(x), torch.zeros_like(y)
    if w.numel():
        core.cpu_distances_gradient(
            w.data_ptr(), x.data_ptr(), y.data_ptr(), _sets(x, y), d_x.data_ptr(), d_y.data_ptr()
        )
    return d_x, d_y


_library = torch.library.Library("wbm_ext", "FRAGMENT")
_library.define("squared_distances(Tensor x, Tensor y) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
_library.define(
    "squared_distances_backward(Tensor w, Tensor x, Tensor y) -> (Tensor, Tensor)", tags=torch.Tag.pt2_compliant_tag
)
_NATIVE = BACKEND == "native"
for _device, _kernels in {
    "CPU": (_cpu_forward, _cpu_backward) if _NATIVE else (_torch_forward, _torch_backward),
    "CUDA": (_torch_forward, _torch_backward),
}.items():
    for _name, _kernel in zip(("squared_distances", "squared_distances_backward"), _kernels, strict=True):
        _library.impl(_name, _kernel, _device)


@torch.library.register_fake("wbm_ext::squared_distances")
def _(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:2], y.shape[1]))


@torch.library.register_fake("wbm_ext::squared_distances_backward")
def _(w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), y.new_empty(y.shape)


def _batching_rule(operator: Any) -> Any:
    """vmap: the mapped dimension is folded into the batch."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Tensor) -> Any:
        size = info.batch_size
        moved = [
            x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(arguments, in_dims, strict=True)
        ]
        found = operator(*(x.flatten(0, 1) for x in moved))
        if isinstance(found, Tensor):
            return found.unflatten(0, (size, -1)), 0
        return tuple(x.unflatten(0, (size, -1)) for x in found), (0,) * len(found)

    return rule


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)
    if hasattr(ctx, "save_for_forward"):
        ctx.save_for_forward(*inputs)


def _differentiate(ctx: Any, w: Tensor) -> tuple[Tensor, Tensor]:
    return _backward(w, *ctx.saved_tensors)


def _differentiate_again(ctx: Any, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    w, x, y = ctx.saved_tensors
    return 2 * _inner(x, y, u, v), *_backward(w, u, v)


class _SquaredDistances(torch.autograd.Function):
    generate_vmap_rule = True
    setup_context = staticmethod(_save)
    backward = staticmethod(_differentiate)  # type: ignore[assignment]

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return torch.ops.wbm_ext.squared_distances(x, y)  # type: ignore[no-any-return]

    @staticmethod
    def jvp(ctx: Any, d_x: Tensor | None, d_y: Tensor | None) -> Tensor:  # type: ignore[override]
        x, y = ctx.saved_tensors
        u = torch.zeros_like(x) if d_x is None else d_x
        v = torch.zeros_like(y) if d_y is None else d_y
        return 2 * _inner(x, y, u, v)


class _Backward(torch.autograd.Function):
    generate_vmap_rule = True
    setup_context = staticmethod(_save)
    backward = staticmethod(_differentiate_again)  # type: ignore[assignment]

    @staticmethod
    def forward(w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ops.wbm_ext.squared_distances_backward(w, x, y)  # type: ignore[no-any-return]

    @staticmethod
    def jvp(ctx: Any, d_w: Tensor | None, d_x: Tensor | None, d_y: Tensor | None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        w, x, y = ctx.saved_tensors
        u = torch.zeros_like(x) if d_x is None else d_x
        v = torch.zeros_like(y) if d_y is None else d_y
        by_w = _backward(torch.zeros_like(w) if d_w is None else d_w, x, y)
        by_points = _backward(w, u, v)
        return by_w[0] + by_points[0], by_w[1] + by_points[1]


class _Eager(torch.autograd.Function):
    """The CPU kernel without dispatch: :class:`_SquaredDistances` in half the time of a small call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _cpu_forward(x, y)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        return _backward(w, x, y) if torch.is_grad_enabled() or is_followed(w) else _cpu_backward(w, x, y)


def _by_operator() -> bool:
    """A graph is traced, or something looks at every operation: it is to see the registered operator."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def _backward(w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if _by_operator():
        return torch.ops.wbm_ext.squared_distances_backward(w, x, y)  # type: ignore[no-any-return]
    return _Backward.apply(w, x, y)  # type: ignore[no-untyped-call,no-any-return]


for _name, _rule in (("squared_distances", _differentiate), ("squared_distances_backward", _differentiate_again)):
    torch.library.register_autograd(f"wbm_ext::{_name}", _rule, setup_context=_save)
    torch.library.register_vmap(f"wbm_ext::{_name}", _batching_rule(getattr(torch.ops.wbm_ext, _name).default))


def distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|² of points (..., n, k) and (..., m, k) of one type, float32 or float64, on one device."""
    batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    n, m, k = x.shape[-2], y.shape[-2], x.shape[-1]
    x, y = x.expand(*batch, n, k).reshape(-1, n, k), y.expand(*batch, m, k).reshape(-1, m, k)
    if _NATIVE and x.is_cpu and forward_ad._current_level < 0 and not is_transformed(x, y):
        D = _Eager.apply(x, y)  # type: ignore[no-untyped-call]
    elif _by_operator():
        D = torch.ops.wbm_ext.squared_distances(x, y)
    else:
        D = _SquaredDistances.apply(x, y)  # type: ignore[no-untyped-call]
    return D.reshape(*batch, n, m)  # type: ignore[no-any-return]
