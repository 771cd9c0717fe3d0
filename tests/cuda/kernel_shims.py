"""The CUDA kernels compiled for the host (``host``) and called through ctypes; the CPU solver asked the same.

A scheduler of fibers stands in for the device: no GPU and no nvcc is needed, only a C++ compiler (``CXX``, else g++). What
this cannot see is the device's arithmetic and memory system.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from compiled import built
from kernel_cases import Case, Guarded, address, fields, lengthened
from wbm_ext._native import core

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "tests" / "cuda" / "host"
# _FORTIFY_SOURCE refuses a longjmp to another stack, which is what a fiber is.
FOLDERS = (ROOT / "csrc", SHIM)
INCLUDES = tuple(f"-I{folder}" for folder in FOLDERS)
FLAGS = ("-std=c++17", "-fPIC", "-Wall", "-Wextra", "-U_FORTIFY_SOURCE", "-DWBM_CUDA_ON_CPU")


def compiled(kernels: tuple[str, ...], entries: tuple[str, ...], *definitions: str) -> Path:
    """The named files of ``csrc/cuda`` with the scheduler and the named files of ``host`` as a shared library."""
    return _library(kernels, entries, (*definitions, "-O2"), (*definitions, "-O2"))


def compiled_watched(kernels: tuple[str, ...], entries: tuple[str, ...], *definitions: str) -> Path:
    """The same with every load and store of the kernels seen by ``races.cpp``; the sanitizer's library is not linked."""
    return _library(kernels, entries, (*definitions, "-O1", "-fsanitize=thread"), ("-O2", "-DWBM_WATCH_ACCESSES"))


def _library(
    kernels: tuple[str, ...], entries: tuple[str, ...], of_kernels: tuple[str, ...], of_entries: tuple[str, ...]
) -> Path:
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if shutil.which(compiler[0]) is None:
        pytest.skip("needs a C++ compiler (CXX or g++)")
    sources = [(ROOT / "csrc" / "cuda" / f"{name}.cu", of_kernels) for name in kernels]
    sources += [(SHIM / f"{name}.cpp", of_entries) for name in ("fibers", "races", "call", *entries)]

    def unit(source: tuple[Path, tuple[str, ...]]) -> str:
        path, flags = source
        return str(built([*compiler, *FLAGS, *flags, *INCLUDES, "-c", "-x", "c++", str(path)], FOLDERS, ".o")[0])

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(unit, sources))
    return built([*compiler, "-shared", *objects], (), ".so")[0]


def structure(name: str, *groups: tuple[type, tuple[str, ...]]) -> type[ctypes.Structure]:
    """A mirror of a C struct: groups of fields of one type."""
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for kind, names in groups for field in names]})


INTEGER, NUMBER, POINTER = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
ProblemFields = structure(
    "ProblemFields", (INTEGER, ("batch", "n", "m", "float64", "bits16", "reference")), (POINTER, ("cost",)),
    (INTEGER, ("cost_stride_problem", "cost_stride_row")), (POINTER, ("mask",)),
    (INTEGER, ("mask_stride_problem", "mask_stride_row")), (POINTER, ("a", "b", "epsilon", "kappa")),
)  # fmt: skip
OUTPUTS = ("f", "g", "sharp", "regularized", "mass", "residual", "iterations", "status", "history")
ForwardCall = structure(
    "ForwardCall", (ProblemFields, ("problem",)), (INTEGER, ("method", "criterion", "max_iter")), (NUMBER, ("tol",)),
    (POINTER, ("init_g", *OUTPUTS)),
)  # fmt: skip
INPUTS = ("f", "g", "grad_sharp", "grad_regularized", "grad_f", "grad_g", "history", "iterations")
GRADIENTS = ("grad_cost", "grad_a", "grad_b", "residual")
BackwardCall = structure(
    "BackwardCall", (ProblemFields, ("problem",)), (INTEGER, ("mode", "max_iter")), (POINTER, (*INPUTS, *GRADIENTS))
)


@dataclass(frozen=True)
class Backward:
    """A solved case, a mode and upstream gradients on sharp, regularized, f and g."""

    case: Case
    mode: int
    inputs: dict[str, np.ndarray]
    wants_cost: bool = True


def outputs(case: Case) -> dict[str, Guarded]:
    """Where the answers of a solve go."""
    batch, n, m = case.shape
    shapes = {"f": (batch, n), "g": (batch, m), "history": (batch, case.max_iter + 1, n + m)}
    types = {"iterations": np.int64, "status": np.int32}
    names = OUTPUTS if case.history else OUTPUTS[:-1]
    return {name: Guarded(shapes.get(name, (batch,)), types.get(name, np.float64)) for name in names}


def gradient_outputs(work: Backward) -> dict[str, Guarded]:
    """Where gradients go."""
    batch, n, m = work.case.shape
    shapes = {"grad_cost": (batch, n, m), "grad_a": (batch, n), "grad_b": (batch, m), "residual": (batch,)}
    if not work.wants_cost:
        del shapes["grad_cost"]
    kinds = {"grad_cost": work.case.cost.dtype if work.case.short is None else np.uint16}
    return {name: Guarded(shape, kinds.get(name, np.float64)) for name, shape in shapes.items()}


def places(out: dict[str, Guarded]) -> dict[str, int]:
    return {name: address(value.array) for name, value in out.items()}


# The records of ``csrc/binding/problem_in.h`` field by field, each field by its name in ``csrc/problem.h``.
PROBLEM = (
    "batch", "n", "m", "cost", "cost_stride_problem", "cost_stride_row", "mask", "mask_stride_problem", "mask_stride_row",
    "a", "b", "epsilon", "epsilon_value", "kappa", "kappa_rows", "kappa_columns", "float64", "bits16", "masses_float64",
    "costs_float64", "reference",
)  # fmt: skip
OPTIONS = ("method", "criterion", "tol", "max_iter", "init_g", "threads")
SOLUTION = ("sharp", "regularized", "f", "g", "mass", "residual", "iterations", "status", "history", "epsilon")
GRADIENT_OPTIONS = ("mode", "max_iter", "iterations", "history", "threads")
GRADIENT_INPUTS = ("f", "g", "grad_sharp", "grad_regularized", "grad_f", "grad_g")


def record(case: Case) -> tuple[object, ...]:
    """The problem as it crosses to the CPU solver."""
    value: dict[str, object] = dict.fromkeys(PROBLEM, 0) | fields(replace(case, short=None))
    value |= dict.fromkeys(("epsilon_value", "kappa_rows", "kappa_columns"), float("nan"))
    value |= {"float64": bool(value["float64"]), "masses_float64": True, "costs_float64": True}
    return tuple(value[name] for name in PROBLEM)


def solve_on_cpu(case: Case) -> dict[str, np.ndarray]:
    """The CPU solver's log-domain path, which the kernels follow step by step: recording keeps it in the log domain."""
    out = outputs(replace(case, history=True))
    options = (case.method, case.criterion, case.tol, case.max_iter, address(case.init_g), 1)
    to = {"epsilon": 0} | places(out)
    core.cpu_solve(record(case), options, tuple(to[name] for name in SOLUTION), False)
    return {name: out[name].array for name in outputs(case)}


def differentiate_on_cpu(work: Backward) -> dict[str, np.ndarray]:
    """The CPU solver's gradients."""
    out = gradient_outputs(work)
    given = {name: address(array) for name, array in work.inputs.items()}
    to = dict.fromkeys(GRADIENTS, 0) | places(out)
    options = (work.mode, work.case.max_iter, given.get("iterations", 0), given.get("history", 0), 1)
    core.cpu_gradient(
        record(work.case), options, tuple(given[name] for name in GRADIENT_INPUTS), tuple(to.values()), None
    )
    return {name: value.array for name, value in out.items()}


class Shim:
    """Compiled kernels with the host's scheduler."""

    CALL: ClassVar[type[ctypes.Structure]]

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        for name in ("wbm_workspace_bytes", "wbm_call_bytes"):
            getattr(self.library, name).restype = ctypes.c_size_t
        for name in ("wbm_run", "wbm_barriers_passed"):
            getattr(self.library, name).restype = ctypes.c_char_p
        self.library.wbm_accesses.restype = ctypes.c_int64
        assert self.library.wbm_call_bytes() == ctypes.sizeof(self.CALL)

    def device(self, multiprocessors: int, shared: int, cluster: int, cooperative: bool, registers: int = 0) -> None:
        """The device from now on; without shared memory every step of an iteration is a launch."""
        self.library.wbm_device(multiprocessors, ctypes.c_size_t(shared), cluster, int(cooperative), registers)

    def accesses(self) -> int:
        """Of the last run, where the kernels were compiled to be watched."""
        return self.library.wbm_accesses()

    def barriers(self, solves: Callable[[], object]) -> list[str]:
        """Those that are passed meanwhile, by file and line."""
        self.library.wbm_forget_barriers()
        solves()
        return self.library.wbm_barriers_passed().decode().split()

    def lengthen(self, bits: np.ndarray, bits16: int) -> np.ndarray:
        """Numbers of 16 bits as the host's kernels read them."""
        values = np.empty(bits.shape)
        self.library.wbm_lengthen(
            *map(ctypes.c_void_p, map(address, (bits, values))), ctypes.c_int64(bits.size), bits16
        )
        return values

    def shorten(self, values: np.ndarray, bits16: int) -> np.ndarray:
        """And as they write them."""
        bits = np.empty(values.shape, np.uint16)
        self.library.wbm_shorten(*map(ctypes.c_void_p, map(address, (values, bits))), ctypes.c_int64(bits.size), bits16)
        return bits

    def run(self, call: ctypes.Structure, out: dict[str, Guarded], seed: int, dropped: str) -> dict[str, np.ndarray]:
        """What the kernels wrote; an error where one did wrong, or wrote beside its arrays."""
        workspace = Guarded((self.library.wbm_workspace_bytes(ctypes.byref(call)),), np.uint8)
        self.library.wbm_forget_watched()
        for name, value in (*out.items(), ("workspace", workspace)):
            self.library.wbm_watch(
                ctypes.c_void_p(address(value.array)), ctypes.c_size_t(value.array.nbytes), name.encode()
            )
        error = self.library.wbm_run(
            ctypes.byref(call), ctypes.c_void_p(address(workspace.array)), ctypes.c_uint64(seed), dropped.encode()
        )
        if error is not None:
            raise RuntimeError(error.decode())
        for name, value in (*out.items(), ("workspace", workspace)):
            value.check(name)
        return {name: value.array for name, value in out.items()}


class ForwardShim(Shim):
    """Solves; ``faulty.cpp`` is in it too."""

    CALL = ForwardCall

    def call(self, case: Case, **to: int) -> ctypes.Structure:
        options = {"method": case.method, "criterion": case.criterion, "tol": case.tol, "max_iter": case.max_iter}
        return ForwardCall(
            problem=ProblemFields(**fields(case), bits16=case.bits16), **options, init_g=address(case.init_g), **to
        )

    def solve(self, case: Case, seed: int = 1, dropped: str = "") -> dict[str, np.ndarray]:
        out = outputs(case)
        return self.run(self.call(case, **places(out)), out, seed, dropped)

    def plan(self, case: Case) -> tuple[int, ...]:
        """Regime, blocks a problem, problems at once, threads and rows a block, whether the matrix is stored, spare bytes."""
        plan = (ctypes.c_int64 * 7)()
        self.library.wbm_plan(ctypes.byref(self.call(case)), plan)
        return tuple(plan)

    def faulty(self, name: str, seed: int) -> tuple[str | None, list[float]]:
        values = np.zeros(4)
        self.library.wbm_faulty.restype = ctypes.c_char_p
        error = self.library.wbm_faulty(name.encode(), ctypes.c_uint64(seed), ctypes.c_void_p(address(values)))
        return (None if error is None else error.decode()), values.tolist()


class BackwardShim(Shim):
    """Differentiates."""

    CALL = BackwardCall

    def multiprocessors(self, count: int) -> None:
        """So many from now on; cooperative launches where there is more than one."""
        self.device(count, 1 << 16, 1, count > 1)

    def differentiate(self, work: Backward, seed: int = 1, dropped: str = "") -> dict[str, np.ndarray]:
        out = gradient_outputs(work)
        given = {name: address(array) for name, array in work.inputs.items()} | places(out)
        case = work.case
        problem = ProblemFields(**fields(case), bits16=case.bits16)
        call = BackwardCall(problem=problem, mode=work.mode, max_iter=case.max_iter, **given)
        got = self.run(call, out, seed, dropped)
        if case.short is not None and work.wants_cost:
            got["grad_cost"] = lengthened(got["grad_cost"], case.bits16)
        return got


def check(shim: ForwardShim, case: Case, seed: int = 1, iterations: bool = True) -> dict[str, np.ndarray]:
    """Equal to the CPU's log domain but for rounding."""
    expected, got = solve_on_cpu(case), shim.solve(case, seed)
    np.testing.assert_array_equal(got["status"], expected["status"])
    if iterations:
        np.testing.assert_array_equal(got["iterations"], expected["iterations"])
    for name in ("f", "g", "sharp", "regularized", "mass", "residual"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-10, atol=1e-10, err_msg=name)
    return got
