"""Drives CMake for the compiled module ``wbm_ext._core``. Never imports torch.

Environment: ``WBM_CUDA=auto|on|off``, ``WBM_CUDA_ARCHS`` (CMake's notation, e.g. ``"80;90"``), ``CMAKE_ARGS``.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """One CMake configure and build; the build folder stays, so a second build takes seconds."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        output = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = ROOT / "build" / f"{sys.implementation.cache_tag}-{os.uname().machine}"
        # A build environment that is gone must not be remembered: pip makes a new one for every isolated build.
        (build / "CMakeCache.txt").unlink(missing_ok=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "WBM_OUTPUT_DIR": output,
            "WBM_CUDA": os.environ.get("WBM_CUDA", "auto"),
            "WBM_CUDA_ARCHS": os.environ.get("WBM_CUDA_ARCHS", ""),
        }
        configure = ["cmake", "-S", ROOT, "-B", build, "-G", "Ninja"]
        configure += [f"-D{name}={value}" for name, value in options.items()]
        configure += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", build], check=True)


setup(ext_modules=[Extension("wbm_ext._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
