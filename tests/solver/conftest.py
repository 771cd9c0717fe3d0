"""The CUDA kernels on the host, compiled once a run and worker."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory):
    """The forward; every step of an iteration is a launch of its own until a device is chosen."""
    from kernel_shims import ForwardShim, compiled

    path = tmp_path_factory.mktemp("cuda_on_cpu") / "forward.so"
    return ForwardShim(compiled(path, "forward", ("forward", "faulty")))


@pytest.fixture(scope="session")
def backward_shim(tmp_path_factory: pytest.TempPathFactory):
    """The backward: one block solves the linear system of a problem with sides up to 24 (256 on a device)."""
    from kernel_shims import BackwardShim, compiled

    path = tmp_path_factory.mktemp("cuda_on_cpu") / "backward.so"
    shim = BackwardShim(compiled(path, "backward", ("backward",), "-DWBM_SYSTEM_BLOCK_SIDE=24"))
    shim.multiprocessors(6)
    return shim
