"""The CUDA kernels on the host, compiled once for the same sources (``compiled``)."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def shim():
    """The forward; every step of an iteration is a launch of its own until a device is chosen.

    Streamed rows of more than 24 columns (some thousands on a device) are kept in shared memory where there is room.
    """
    from kernel_shims import ForwardShim, compiled

    kernels = ("solve/forward", "solve/forward_of_type", "solve/registers")
    return ForwardShim(compiled(kernels, ("forward", "faulty"), "-DWBM_HELD_COLUMNS=24"))


@pytest.fixture(scope="session")
def backward_shim():
    """The backward: one block solves the linear system of a problem with sides up to 24 (256 on a device)."""
    from kernel_shims import BackwardShim, compiled

    shim = BackwardShim(compiled(("gradient/backward",), ("backward",), "-DWBM_SYSTEM_BLOCK_SIDE=24"))
    shim.multiprocessors(6)
    return shim
