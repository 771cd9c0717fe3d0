"""Evaluation of a function of pairs in pieces, so that memory does not grow with the number of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch

CHUNK = 1 << 18


def in_chunks(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """Return ``function(*tensors)`` for tensors of shape (n,), computed ``CHUNK`` pairs at a time, without gradient."""
    length = len(tensors[0])
    with torch.no_grad():
        starts = range(0, max(length, 1), CHUNK)
        return torch.cat([function(*(tensor[start : start + CHUNK] for tensor in tensors)) for start in starts])
