"""The compiled module, loaded once, with an error that says what to do when it is missing; or none at all.

The environment variable ``WBM_BACKEND`` is read once, here: ``native`` (default) is the compiled module, ``reference``
does without it and runs everything in plain torch, orders of magnitude slower.
"""

from __future__ import annotations

import importlib
import os
import platform
from typing import Any

import torch

from wbm_ext.errors import check_name

BACKEND = check_name("WBM_BACKEND", os.environ.get("WBM_BACKEND") or "native", ("native", "reference"))


def _load() -> Any:
    if BACKEND == "reference":
        return None
    try:
        return importlib.import_module("wbm_ext._core")
    except ImportError as error:
        raise ImportError(
            f"the compiled module wbm_ext._core could not be loaded for Python {platform.python_version()} ({error}). "
            "In a checkout, build it with: pip install -e . "
            "To do without it, in plain torch and slowly, set WBM_BACKEND=reference"
        ) from error


core: Any = _load()


def build_info() -> dict[str, Any]:
    """What was built and what it runs on: versions, backend, compiler, CPU kernels, CUDA architectures, devices.

    ``backend`` is "native", or with ``WBM_BACKEND=reference`` a text that says that everything runs in plain torch;
    what the compiled module would report is None then.
    """
    from wbm_ext._version import __version__

    native = core is not None
    return {
        "wbm_ext": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "backend": BACKEND if native else "reference (plain torch, no compiled module: slow, for checks only)",
        "compiler": core.compiler if native else None,
        "cpu_kernels": core.instruction_set() if native else None,
        "cuda_architectures": (core.cuda_architectures or None) if native else None,
        "cuda_devices": core.cuda_device_count() if native else torch.cuda.device_count(),
        "threads": torch.get_num_threads(),
    }
