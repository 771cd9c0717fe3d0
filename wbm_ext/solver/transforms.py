"""The registered operators under ``torch.func.vmap`` and autocast.

vmap: the mapped dimension is folded into the batch that every operator has. Autocast: 16-bit D and masses are lifted to
float32, the type the solver computes them in, but where its kernels read 16 bits (CUDA).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.solver import operators  # noqa: F401  (defines the operators)

_OPERATORS = ("wbm_ext::solve", "wbm_ext::solve_backward", "wbm_ext::mean_cost")


def _fold(x: Any, dim: int | None, size: int) -> Any:
    """(V, B, ...) as (V B, ...); what is no tensor, and the empty history, as it is."""
    if not isinstance(x, Tensor) or (dim is None and x.dim() == 1 and x.numel() == 0):
        return x
    x = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.reshape((size * x.shape[1], *x.shape[2:]))


def _batching_rule(name: str) -> Any:
    operator = getattr(torch.ops.wbm_ext, name.split("::")[1]).default

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        size = info.batch_size
        folded = [_fold(x, dim, size) for x, dim in zip(arguments, in_dims, strict=True)]
        outputs = operator(*folded)
        count = folded[4].shape[0] if name.endswith("backward") else folded[0].shape[0]

        def unfold(x: Tensor) -> tuple[Tensor, int | None]:
            kept = x.dim() == 1 and x.numel() == 0 and count > 0  # the empty history
            return (x, None) if kept else (x.reshape(size, count // size, *x.shape[1:]), 0)

        if isinstance(outputs, Tensor):
            return unfold(outputs)
        values, dims = zip(*map(unfold, outputs), strict=True)
        return values, dims

    return rule


for _name in _OPERATORS:
    torch.library.register_vmap(_name, _batching_rule(_name))
    if hasattr(torch.library, "register_autocast"):  # torch 2.6 has none, and autocast leaves the operators alone
        for _device in ("cpu",) if BACKEND == "native" else ("cpu", "cuda"):
            torch.library.register_autocast(_name, _device, torch.float32)
