"""What the CUDA path hands to its kernels, seen on the host: the CPU solver answers in the place of the device.

Both take the same structs, so a wrong address, type or stride shows as a wrong gradient.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from problems import INF
from wbm_ext._native import core
from wbm_ext.solver import cuda, kernels

pytestmark = pytest.mark.native
MODES = {"implicit": 0, "frozen": 1, "unrolled": 2}


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(problem: Any, options: Any, solution: Any, workspace: int, stream: int) -> None:
        core.cpu_forward(problem, options, solution)

    def backward(problem: Any, adjoint: Any, workspace: int, stream: int) -> None:
        core.cpu_backward(problem, adjoint)

    device = SimpleNamespace(
        cuda_architectures="host",
        Problem=core.Problem,
        Options=core.Options,
        Solution=core.Solution,
        Adjoint=core.Adjoint,
        cuda_workspace_bytes=lambda problem: 0,
        cuda_backward_workspace_bytes=lambda problem, mode: 0,
        cuda_forward=forward,
        cuda_backward=backward,
    )
    monkeypatch.setattr(cuda, "core", device)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))


def arguments(dtype: torch.dtype, masses: torch.dtype, masked: bool) -> tuple[Any, ...]:
    """cost, a, b, epsilon, kappa, mask of three problems; D is a part of a wider array."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.rand(3, 9, 14, dtype=dtype, generator=generator)
    a = torch.rand(3, 9, dtype=masses, generator=generator) + 0.5
    b = torch.rand(3, 11, dtype=masses, generator=generator) + 0.5
    epsilon = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)
    kappa = torch.tensor([[0.7, INF]] * 3, dtype=torch.float64)
    mask = (torch.rand(3, 11, 9, generator=generator) < 0.8).transpose(1, 2) if masked else None
    return wide[:, :, 2:13], a, b, epsilon, kappa, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("masses", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("on_host")
def test_same_gradients_as_the_cpu(mode: str, dtype: torch.dtype, masses: torch.dtype, masked: bool) -> None:
    data = arguments(dtype, masses, masked)
    options = (0, 0, 0, MODES[mode], 1e-6, 50)
    answers: list[tuple[Tensor, ...]] = []
    for solve, solve_backward in (
        (cuda.solve_cuda, cuda.solve_backward_cuda),
        (kernels.solve_cpu, kernels.solve_backward_cpu),
    ):
        sharp, regularized, f, g, _, _, iterations, _, history = found = solve(*data, None, *options)
        upstream = (torch.ones_like(sharp), 2 * torch.ones_like(regularized), f.cos(), g.sin())
        gradients = solve_backward(*upstream, *data, f, g, iterations, history, 0, MODES[mode], 50)
        answers.append((*found[:-1], *gradients))
    for on_cuda, on_cpu in zip(*answers, strict=True):
        assert on_cuda.dtype == on_cpu.dtype
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-5 if torch.float32 in (dtype, masses) else 1e-12, atol=1e-6)


def test_a_build_for_the_cpu_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "core", SimpleNamespace(cuda_architectures=""))
    data = arguments(torch.float32, torch.float32, masked=False)
    nothing = torch.empty(0)
    with pytest.raises(RuntimeError, match="built for the CPU only"):
        cuda.solve_cuda(*data, None, 0, 0, 0, 0, 1e-6, 50)
    with pytest.raises(RuntimeError, match="built for the CPU only"):
        cuda.solve_backward_cuda(*[nothing] * 4, *data, *[nothing] * 4, 0, 0, 50)
