"""The CUDA compiler, for tests that compile the kernels; no GPU is needed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c++17", "-O3", "-DNDEBUG", "-Xcompiler=-fPIC"]  # of CMakeLists.txt


def nvcc() -> str | None:
    """From CUDACXX, else the PATH, else CUDA_HOME, as CMake looks for it."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path=str(Path(home) / "bin"))
