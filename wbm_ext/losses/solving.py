"""The solve of a loss: from zero, or from what a cache knows of the samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from wbm_ext.losses.potentials import PotentialsCache
from wbm_ext.solver import SinkhornResult, solve

_HINT = "options such as epsilon are given by name"


def check_index(cache: PotentialsCache | None, index: Tensor | None, size: int) -> None:
    """A cache needs the index of every sample of the batch; without one the index is not read, but still is one.

    Raises
    ------
    TypeError, ValueError
        No cache of this kind, no index, or an index of another shape.
    """
    if cache is None:
        if index is not None and not isinstance(index, Tensor):
            raise TypeError(f"index must be a tensor of integers, shape ({size},), got {type(index).__name__}; {_HINT}")
        return
    if not isinstance(cache, PotentialsCache):
        raise TypeError(f"cache must be a PotentialsCache, got {type(cache).__name__}")
    if not isinstance(index, Tensor) or index.shape != (size,):
        got = tuple(index.shape) if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"index must be a tensor of shape ({size},), the samples of the batch, with cache; got {got}")


def solver_of(cache: PotentialsCache | None, samples: tuple[Tensor, Tensor] | None) -> Callable[..., SinkhornResult]:
    """:func:`wbm_ext.solve`, or that of the cache for the samples on both sides."""
    if cache is None:
        if samples is not None and not (isinstance(samples, tuple | list) and len(samples) == 2):
            raise TypeError(f"index must be a pair of tensors of integers, got {type(samples).__name__}; {_HINT}")
        return solve
    if not isinstance(cache, PotentialsCache):
        raise TypeError(f"cache must be a PotentialsCache, got {type(cache).__name__}")
    if samples is None:
        raise ValueError("index must name the samples of both sides with cache, got None")
    return partial(cache.solve, rows=samples[0], columns=samples[1])
