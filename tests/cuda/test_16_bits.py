"""D in float16 and bfloat16, read by the CUDA kernels as it is: forward and backward on every path, run on the host.

The arithmetic is that of float32 for the same numbers: answers are those bits, gradients in D those rounded.
"""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import wbm_ext
from kernel_cases import (
    BFLOAT16,
    FLOAT16,
    INF,
    KAPPAS,
    PRODUCT,
    SCALING,
    Case,
    lengthened,
    same,
    shortened,
    with_16_bits,
    with_holes,
    with_mask,
    with_padding,
)
from kernel_regimes import (
    FROZEN,
    IMPLICIT,
    LARGE,
    PATHS,
    SMALL,
    UNROLLED,
    WIDE,
    Devices,
    make_two,
    problem,
    solved,
)
from kernel_shims import (
    GRADIENT_INPUTS,
    GRADIENT_OPTIONS,
    GRADIENTS,
    OPTIONS,
    PROBLEM,
    SOLUTION,
    BackwardCall,
    BackwardShim,
    ForwardCall,
    ForwardShim,
    ProblemFields,
    solve_on_cpu,
)
from wbm_ext.solver import checks, kernels
from wbm_ext.solver.problem import BITS16, MARGINAL, SINKHORN, Options, Problem, Upstream

pytestmark = pytest.mark.native
TYPES = {"float16": FLOAT16, "bfloat16": BFLOAT16}
PRECISION = {FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8}  # of a rounded number
LEAST = {FLOAT16: 2.0**-24, BFLOAT16: 2.0**-133}  # the smallest number


@pytest.fixture
def devices(shim: ForwardShim) -> Any:
    yield Devices(shim)
    shim.device(3, 0, 1, False)


def twins(case: Case, bits16: int) -> tuple[Case, Case]:
    """The same problem in 16 bits and in float32."""
    short = with_16_bits(case, bits16)
    return short, replace(short, short=None, bits16=0)


@pytest.mark.parametrize("bits16", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("path", [*PATHS, "launches"])
def test_a_solve_has_the_bits_of_float32(devices: Devices, shim: ForwardShim, path: str, bits16: int) -> None:
    cases = [
        with_mask(with_holes(make_two(kappa=KAPPAS["unbalanced"], reference=PRODUCT, seed=3, dtype=np.float32))),
        make_two(kappa=KAPPAS["balanced"], dtype=np.float32, tol=1e-10, max_iter=200),  # sums in float64 at the end
        make_two(epsilon=0.004, dtype=np.float32, tol=0.0, max_iter=12),  # leaves the range of the scalings
        make_two(kappa=KAPPAS["soft_rows"], dtype=np.float32, criterion=SCALING, tol=1e-6, history=True, max_iter=20),
        with_padding(make_two(dtype=np.float32, max_iter=30)),
    ]
    for case in cases:
        short, long = twins(case, bits16)
        if path == "launches":
            shim.device(3, 0, 1, False)
            got, expected = shim.solve(short), shim.solve(long)
        else:
            got, expected = devices.solve(short, path), devices.solve(long, path)
        assert same(expected, got)
        np.testing.assert_allclose(got["f"], solve_on_cpu(short)["f"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits16", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("kept", [1, 4])
def test_long_rows(devices: Devices, kept: int, bits16: int) -> None:
    for path in ("block_streamed", "two_groups"):
        short, long = twins(make_two(n=18, m=300, dtype=np.float32, max_iter=3, tol=0.0), bits16)
        assert same(devices.solve(long, path, kept=kept), devices.solve(short, path, kept=kept))


@pytest.mark.parametrize("bits16", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("size", [SMALL, LARGE, WIDE])
@pytest.mark.parametrize("mode", [IMPLICIT, FROZEN, UNROLLED])
def test_gradients_are_those_of_float32(
    backward_shim: BackwardShim, mode: int, size: tuple[int, int], bits16: int
) -> None:
    options = {"max_iter": 8, "tol": 0.0} if mode == UNROLLED else {}
    case = with_holes(problem(size, "unbalanced", dtype=np.float32, reference=PRODUCT, **options))
    short, long = twins(case, bits16)
    work = solved(long, mode)
    expected = backward_shim.differentiate(work)
    got = backward_shim.differentiate(replace(work, case=short))
    for name in GRADIENTS[1:]:
        np.testing.assert_array_equal(got[name], expected[name])
    np.testing.assert_allclose(
        got["grad_cost"], expected["grad_cost"], rtol=1.01 * PRECISION[bits16], atol=LEAST[bits16]
    )


@pytest.mark.parametrize("bits16", TYPES.values(), ids=TYPES)
def test_a_gradient_beyond_the_type_is_infinite_and_a_refused_one_nan(backward_shim: BackwardShim, bits16: int) -> None:
    short, long = twins(problem(SMALL, "balanced", batch=3, dtype=np.float32), bits16)
    work = solved(long, FROZEN, sharp=1e9 if bits16 == FLOAT16 else 1e44, regularized=0.0)
    work.inputs["grad_sharp"][:] = np.abs(work.inputs["grad_sharp"])
    got = backward_shim.differentiate(replace(work, case=short))
    assert np.isposinf(got["grad_cost"]).any()
    bad = replace(short, a=short.a * np.array([[1.0], [-1.0], [1.0]]))
    got = backward_shim.differentiate(replace(work, case=bad))
    assert np.isnan(got["grad_cost"][1]).all()
    assert not np.isnan(got["grad_cost"][[0, 2]]).any()


@pytest.mark.parametrize("bits16", TYPES.values(), ids=TYPES)
def test_every_number_of_16_bits(shim: ForwardShim, bits16: int) -> None:
    """The host's own 16-bit numbers agree with numpy's and torch's: all of them, and what lies between."""
    bits = np.arange(2**16, dtype=np.uint16)
    torch_type = torch.float16 if bits16 == FLOAT16 else torch.bfloat16
    values = torch.from_numpy(bits.view(np.int16)).view(torch_type).double().numpy()
    known = ~np.isnan(values)
    np.testing.assert_array_equal(shim.lengthen(bits, bits16)[known], values[known])
    assert np.isnan(shim.lengthen(bits, bits16)[~known]).all()
    np.testing.assert_array_equal(lengthened(bits, bits16)[known], values[known])
    finite = np.sort(values[np.isfinite(values)])
    between = np.concatenate([finite, 0.5 * (finite[1:] + finite[:-1]), 1.0001 * finite, [INF, -INF]])
    expected = torch.from_numpy(between.astype(np.float32)).to(torch_type)
    got = torch.from_numpy(shim.shorten(between.astype(np.float32).astype(np.float64), bits16).view(np.int16))
    assert torch.equal(got.view(torch_type).double(), expected.double())
    mine = torch.from_numpy(shortened(between.astype(np.float32), bits16).view(np.int16)).view(torch_type)
    assert torch.equal(mine.double(), expected.double())


def on_the_host(shim: ForwardShim, backward_shim: BackwardShim) -> SimpleNamespace:
    """The compiled module with the host's kernels in the place of the device's."""

    def named(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    def made(kind: type, problem: tuple[Any, ...], **values: Any) -> Any:
        given = named(PROBLEM, problem)
        assert given["masses_float64"]
        assert given["costs_float64"]
        names = {name for name, _ in kind._fields_} & set(values)
        fields = {name: given[name] for name, _ in ProblemFields._fields_}
        return kind(problem=ProblemFields(**fields), **{name: values[name] for name in names})

    def call(library: Any, given: Any, workspace: int) -> None:
        assert library.wbm_run(ctypes.byref(given), ctypes.c_void_p(workspace), ctypes.c_uint64(1), b"") is None

    def size(library: Any, given: Any) -> int:
        return library.wbm_workspace_bytes(ctypes.byref(given))

    def solve(problem: Any, options: Any, solution: Any, workspace: int, stream: int) -> None:
        values = named(OPTIONS, options) | named(SOLUTION, solution)
        call(shim.library, made(ForwardCall, problem, **values), workspace)

    def gradient(problem: Any, options: Any, inputs: Any, outputs: Any, workspace: int, stream: int) -> None:
        values = named(GRADIENT_OPTIONS, options) | named(GRADIENT_INPUTS, inputs) | named(GRADIENTS, outputs)
        call(backward_shim.library, made(BackwardCall, problem, **values), workspace)

    return SimpleNamespace(
        cuda_architectures="host",
        cuda_workspace_bytes=lambda problem: size(shim.library, made(ForwardCall, problem)),
        cuda_gradient_workspace_bytes=lambda problem, mode: size(
            backward_shim.library, made(BackwardCall, problem, mode=mode)
        ),
        cuda_solve=solve,
        cuda_gradient=gradient,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", [IMPLICIT, FROZEN, UNROLLED])
def test_tensors_of_16_bits(
    shim: ForwardShim, backward_shim: BackwardShim, monkeypatch: pytest.MonkeyPatch, mode: int, dtype: torch.dtype
) -> None:
    """What a user's D becomes on the way to the kernels and back; a part of a wider matrix is not copied."""
    monkeypatch.setattr(kernels, "core", on_the_host(shim, backward_shim))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))
    generator = torch.Generator().manual_seed(3)
    D = torch.rand(2, 9, 14, generator=generator).to(dtype)[:, :, 2:13]
    a, b = (torch.rand(2, size, generator=generator) + 0.5 for size in (9, 11))
    strengths = (torch.tensor([0.3, 0.2], dtype=torch.float64), torch.tensor([[0.7, INF]] * 2, dtype=torch.float64))
    options = Options(SINKHORN, MARGINAL, mode, 1e-6, 50, None)
    answers = []
    for cost in (D, D.float()):
        data = Problem(cost, a, b, *strengths, None, 0)
        found = kernels._solve_on_cuda(data, options)
        upstream = Upstream(
            torch.ones_like(found.sharp), 2 * torch.ones_like(found.regularized), found.f.cos(), found.g.sin()
        )
        gradients = kernels._gradient_on_cuda(data, found, upstream, mode, 50)
        answers.append((*found[:8], *gradients))
    short, long = answers
    for k, (x, y) in enumerate(zip(short, long, strict=True)):
        if k == 8:  # dL/dD
            assert x.dtype == dtype
            torch.testing.assert_close(x.float(), y, rtol=1.01 * PRECISION[BITS16[dtype]], atol=1e-7)
        else:
            assert torch.equal(x, y), k


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_of_results_and_gradients(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Costs, potentials and plan in float32, gradients of D in its type, and D itself not lifted (on the meta device)."""
    monkeypatch.setattr(checks, "_reads_16_bits", lambda D: True)
    D = torch.empty(3, 5, 4, dtype=dtype, device="meta", requires_grad=True)
    epsilon = torch.ones(3, dtype=torch.float64, device="meta", requires_grad=True)
    for strength in (1.0, epsilon):
        result = wbm_ext.solve(D, epsilon=strength)
        assert result._D.dtype == dtype
        assert {x.dtype for x in (result.cost, result.regularized_cost, result.f, result.plan)} == {torch.float32}
        D.grad = epsilon.grad = None
        (result.cost.sum() + result.regularized_cost.sum()).backward()
        assert D.grad.dtype == dtype
    assert epsilon.grad.dtype == torch.float64


def test_only_a_device_with_kernels_for_16_bits_reads_them() -> None:
    assert not checks._reads_16_bits(torch.empty(2, 2, dtype=torch.float16))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert checks._reads_16_bits(torch.empty(2, 2, dtype=torch.float16, device="cuda"))
