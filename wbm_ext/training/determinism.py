"""Deterministic mode: the same bits from the same machine, also on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(active: bool = True) -> Iterator[None]:
    """Let torch use deterministic algorithms only, inside; its settings are put back after.

    On the CPU training is deterministic without it (for one number of threads). On a GPU it costs time; cuBLAS also
    needs the environment variable ``CUBLAS_WORKSPACE_CONFIG=:4096:8``, set before the process starts, and torch
    raises where an operation has no deterministic form.
    """
    if not active:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
