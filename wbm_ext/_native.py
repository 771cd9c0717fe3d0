"""The compiled module, loaded once, with an error that says what to do when it is missing.

torch is imported first on purpose: the module is linked against ``libgomp.so.1`` and torch brings a library of that
name, so that one OpenMP runtime serves both.
"""

from __future__ import annotations

import importlib
import platform
from typing import Any

import torch

try:
    core: Any = importlib.import_module("wbm_ext._core")
except ImportError as error:
    raise ImportError(
        f"the compiled module wbm_ext._core could not be loaded for Python {platform.python_version()} ({error}). "
        "In a checkout, build it with: pip install -e ."
    ) from error


def build_info() -> dict[str, Any]:
    """What was built and what it runs on: versions, compiler, CPU kernels in use, CUDA architectures, devices."""
    from wbm_ext._version import __version__

    return {
        "wbm_ext": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiler": core.compiler,
        "cpu_kernels": core.instruction_set(),
        "cuda_architectures": core.cuda_architectures or None,
        "cuda_devices": core.cuda_device_count(),
        "threads": torch.get_num_threads(),
    }
