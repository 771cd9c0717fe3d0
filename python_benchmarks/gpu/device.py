"""The GPU that is measured, or the reason why there is none."""

from __future__ import annotations

import re

import torch

import wbm_ext
from python_benchmarks._harness import Record

ABSENT = 2  # exit code of a command that found no GPU to work on


def missing() -> str:
    """Why nothing can be run on a GPU, in one sentence; empty where all is there."""
    info = wbm_ext.build_info()
    if not info["cuda_architectures"]:
        return (
            "no GPU run: wbm_ext was built without CUDA kernels; put nvcc on the PATH and reinstall "
            "(WBM_CUDA=on makes a missing nvcc an error)"
        )
    if not torch.cuda.is_available():
        build = "for the CPU only" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        return f"no GPU run: torch {torch.__version__}, built {build}, finds no CUDA device"
    return ""


def short_name(name: str) -> str:
    """The device in a file's name: "NVIDIA H100 80GB HBM3" is h100.

    >>> short_name("NVIDIA H100 80GB HBM3"), short_name("NVIDIA GeForce RTX 4090"), short_name("Tesla T4")
    ('h100', 'rtx-4090', 't4')
    """
    words = re.sub(r"(?i)\b(nvidia|tesla|geforce|quadro|generation)\b", " ", name).split()
    kept = words[:2] if words and words[0].upper() in ("RTX", "GTX", "TITAN") else words[:1]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(kept).lower()).strip("-") or "gpu"


def describe() -> Record:
    """What was measured on; neither host names nor paths."""
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory": found.total_memory,
        "cuda": torch.version.cuda,
    }
