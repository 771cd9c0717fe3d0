"""Problems as tensors of a device, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from python_benchmarks._problems import Problem


def tensors(problem: Problem, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and D in their type."""
    a, b, D = (torch.from_numpy(x).to(device) for x in (problem.a, problem.b, problem.D))
    return a, b, D


def float64(x: Tensor) -> np.ndarray:
    """The values on the host."""
    return x.detach().double().cpu().numpy()
