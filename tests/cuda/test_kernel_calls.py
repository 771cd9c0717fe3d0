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
from wbm_ext.solver import kernels
from wbm_ext.solver.problem import GRADIENTS, MARGINAL, SINKHORN, Options, Problem, Upstream

pytestmark = pytest.mark.native


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def solve(problem: Any, options: Any, solution: Any, workspace: int, stream: int) -> None:
        core.cpu_solve(problem, options, solution, False)

    def gradient(problem: Any, options: Any, inputs: Any, outputs: Any, workspace: int, stream: int) -> None:
        core.cpu_gradient(problem, options, inputs, outputs, None)

    device = SimpleNamespace(
        cuda_architectures="host",
        cuda_workspace_bytes=lambda problem: 0,
        cuda_gradient_workspace_bytes=lambda problem, mode: 0,
        cuda_solve=solve,
        cuda_gradient=gradient,
        cpu_solve=core.cpu_solve,
        cpu_gradient=core.cpu_gradient,
    )
    monkeypatch.setattr(kernels, "core", device)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))


def problem(dtype: torch.dtype, masses: torch.dtype, masked: bool) -> Problem:
    """Three problems; D is a part of a wider array."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.rand(3, 9, 14, dtype=dtype, generator=generator)
    a = torch.rand(3, 9, dtype=masses, generator=generator) + 0.5
    b = torch.rand(3, 11, dtype=masses, generator=generator) + 0.5
    epsilon = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)
    kappa = torch.tensor([[0.7, INF]] * 3, dtype=torch.float64)
    mask = (torch.rand(3, 11, 9, generator=generator) < 0.8).transpose(1, 2) if masked else None
    return Problem(wide[:, :, 2:13], a, b, epsilon, kappa, mask, 0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("masses", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", GRADIENTS)
@pytest.mark.usefixtures("on_host")
def test_same_gradients_as_the_cpu(mode: str, dtype: torch.dtype, masses: torch.dtype, masked: bool) -> None:
    data, gradient = problem(dtype, masses, masked), GRADIENTS[mode]
    options = Options(SINKHORN, MARGINAL, gradient, 1e-6, 50, None)
    answers: list[tuple[Tensor, ...]] = []
    for solve, differentiate in (
        (kernels._solve_on_cuda, kernels._gradient_on_cuda),
        (lambda *x: kernels.solve(*x)[0], lambda *x: kernels.gradient(*x)[0]),
    ):
        found = solve(data, options)
        upstream = Upstream(
            torch.ones_like(found.sharp), 2 * torch.ones_like(found.regularized), found.f.cos(), found.g.sin()
        )
        gradients = differentiate(data, found, upstream, gradient, 50)
        d_a, d_b = gradients.a.to(masses), gradients.b.to(masses)
        answers.append((*found[:8], found.epsilon, gradients.D, d_a, d_b, gradients.residual))
    for on_cuda, on_cpu in zip(*answers, strict=True):
        assert on_cuda.dtype == on_cpu.dtype
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-5 if torch.float32 in (dtype, masses) else 1e-12, atol=1e-6)


@pytest.mark.usefixtures("on_host")
def test_defaults_and_a_single_problem_are_completed() -> None:
    """Uniform masses, the default epsilon and strengths given as numbers come to a device as arrays."""
    D = torch.rand(9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    data, options = Problem(D, None, None, None, (0.7, INF), None, 0), Options(SINKHORN, MARGINAL, 0, 1e-6, 50, None)
    on_cuda, (on_cpu, *_) = kernels._solve_on_cuda(data, options), kernels.solve(data, options)
    for name in ("sharp", "regularized", "f", "g", "mass", "residual", "iterations", "status", "epsilon"):
        torch.testing.assert_close(
            getattr(on_cuda, name), getattr(on_cpu, name), msg=lambda m, name=name: f"{name}: {m}"
        )


def test_a_build_for_the_cpu_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "core", SimpleNamespace(cuda_architectures=""))
    data = problem(torch.float32, torch.float32, masked=False)
    with pytest.raises(RuntimeError, match="built for the CPU only"):
        kernels._solve_on_cuda(data, Options(SINKHORN, MARGINAL, 0, 1e-6, 50, None))
    nothing: Any = None
    with pytest.raises(RuntimeError, match="built for the CPU only"):
        kernels._gradient_on_cuda(data, nothing, nothing, 0, 50)
