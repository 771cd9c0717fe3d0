"""The CUDA kernels run on the host, thread by thread in random orders, against the compiled CPU solver.

Here every step of an iteration is a launch of its own; ``test_cuda_regimes.py`` has whole solves in one launch.

``tests/cuda_on_cpu`` holds a scheduler of fibers that stands in for the device: no GPU and no nvcc is needed,
only a C++ compiler (``CXX``, else g++). What this cannot see is the device's arithmetic and memory system.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from wbm_ext._native import core

pytestmark = pytest.mark.native
ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "tests" / "cuda_on_cpu"
INF, NAN = np.inf, np.nan
ENTROPY, PRODUCT = 0, 1
MARGINAL, SCALING = 0, 1
SINKHORN, ACCELERATED = 0, 1
CONVERGED, LIMIT, STAGNATED, OVERFLOW, RESCALED = 1, 2, 4, 8, 16
NAN_COST, INVALID_MASS, UNEQUAL, ISOLATED, INVALID_STRENGTH, INVALID_INIT = 32, 64, 128, 256, 512, 1024
REFUSED = ~31

INTEGER_FIELDS = ("batch", "n", "m", "float64", "reference")
OUTPUTS = ("f", "g", "sharp", "regularized", "mass", "residual", "iterations", "status", "history")


class Call(ctypes.Structure):
    """Mirror of ``Call`` in tests/cuda_on_cpu/entry.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in INTEGER_FIELDS),
        ("cost", ctypes.c_void_p),
        ("cost_stride_problem", ctypes.c_int64),
        ("cost_stride_row", ctypes.c_int64),
        ("mask", ctypes.c_void_p),
        ("mask_stride_problem", ctypes.c_int64),
        ("mask_stride_row", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("a", "b", "epsilon", "kappa")),
        *((name, ctypes.c_int64) for name in ("method", "criterion", "max_iter")),
        ("tol", ctypes.c_double),
        ("init_g", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in OUTPUTS),
    )


@dataclass(frozen=True)
class Case:
    """A batch of problems and how to solve them; cost and mask may have any strides but unit columns."""

    cost: np.ndarray
    a: np.ndarray
    b: np.ndarray
    epsilon: np.ndarray
    kappa: np.ndarray
    mask: np.ndarray | None = None
    init_g: np.ndarray | None = None
    reference: int = ENTROPY
    method: int = ACCELERATED
    criterion: int = MARGINAL
    tol: float = 1e-6
    max_iter: int = 200
    history: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.cost.shape


class Guarded:
    """An array of bytes 0xff between two guards that nobody may write to."""

    WIDTH = 4096

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.bytes = np.full(size + 2 * self.WIDTH, 0xFF, np.uint8)
        self.array = self.bytes[self.WIDTH : self.WIDTH + size].view(dtype).reshape(shape)

    def check(self, name: str) -> None:
        assert (self.bytes[: self.WIDTH] == 0xFF).all(), f"written before {name}"
        assert (self.bytes[self.bytes.size - self.WIDTH :] == 0xFF).all(), f"written past {name}"


def outputs(case: Case) -> dict[str, Guarded]:
    batch, n, m = case.shape
    shapes = {"f": (batch, n), "g": (batch, m), "history": (batch, case.max_iter + 1, n + m)}
    types = {"iterations": np.int64, "status": np.int32}
    names = OUTPUTS if case.history else OUTPUTS[:-1]
    return {name: Guarded(shapes.get(name, (batch,)), types.get(name, np.float64)) for name in names}


def strides(array: np.ndarray) -> tuple[int, int]:
    assert array.size == 0 or array.shape[2] == 1 or array.strides[2] == array.itemsize
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def fields(case: Case) -> dict[str, int]:
    """What ``core.Problem`` and ``Call`` have in common."""
    batch, n, m = case.shape
    given = {
        "batch": batch,
        "n": n,
        "m": m,
        "float64": case.cost.dtype == np.float64,
        "reference": case.reference,
    }
    for name in ("cost", "mask", "a", "b", "epsilon", "kappa"):
        given[name] = address(getattr(case, name))
    given["cost_stride_problem"], given["cost_stride_row"] = strides(case.cost)
    if case.mask is not None:
        given["mask_stride_problem"], given["mask_stride_row"] = strides(case.mask)
    return given


def solve_on_cpu(case: Case) -> dict[str, np.ndarray]:
    """The CPU solver's log-domain path, which these kernels follow step by step: recording keeps it in the log domain."""
    out = outputs(replace(case, history=True))
    problem = core.Problem()
    for name, value in fields(case).items():
        setattr(problem, name, value)
    options = core.Options(case.method, case.criterion, case.tol, case.max_iter, address(case.init_g), 1)
    places = {name: out[name].array.ctypes.data if name in out else 0 for name in OUTPUTS}
    core.cpu_forward(problem, options, core.Solution(**places))
    return {name: out[name].array for name in outputs(case)}


class Shim:
    """The compiled kernels with the host's scheduler."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.wbm_workspace_bytes.restype = self.library.wbm_call_bytes.restype = ctypes.c_size_t
        assert self.library.wbm_call_bytes() == ctypes.sizeof(Call)
        for name in ("wbm_forward", "wbm_barriers_passed", "wbm_faulty"):
            getattr(self.library, name).restype = ctypes.c_char_p

    def solve(self, case: Case, seed: int = 1, dropped: str = "") -> dict[str, np.ndarray]:
        out = outputs(case)
        options = {
            "method": case.method,
            "criterion": case.criterion,
            "tol": case.tol,
            "max_iter": case.max_iter,
        }
        places = {name: value.array.ctypes.data for name, value in out.items()}
        call = Call(**fields(case), **options, init_g=address(case.init_g), **places)
        workspace = Guarded((self.library.wbm_workspace_bytes(ctypes.byref(call)),), np.uint8)
        error = self.library.wbm_forward(
            ctypes.byref(call),
            ctypes.c_void_p(address(workspace.array)),
            ctypes.c_uint64(seed),
            dropped.encode(),
        )
        if error is not None:
            raise RuntimeError(error.decode())
        for name, value in (*out.items(), ("workspace", workspace)):
            value.check(name)
        return {name: value.array for name, value in out.items()}

    def device(self, multiprocessors: int, shared: int, cluster: int, cooperative: bool) -> None:
        """The device from now on; without shared memory every step of an iteration is a launch."""
        self.library.wbm_device(multiprocessors, ctypes.c_size_t(shared), cluster, int(cooperative))

    def plan(self, case: Case) -> tuple[int, ...]:
        """Regime, blocks a problem, problems at once, threads a block, rows a block, whether the matrix is stored."""
        call = Call(**fields(case), method=case.method, criterion=case.criterion, tol=case.tol, max_iter=case.max_iter)
        plan = (ctypes.c_int64 * 6)()
        self.library.wbm_plan(ctypes.byref(call), plan)
        return tuple(plan)

    def barriers(self) -> list[str]:
        return self.library.wbm_barriers_passed().decode().split()

    def faulty(self, name: str, seed: int) -> tuple[str | None, list[float]]:
        values = np.zeros(4)
        error = self.library.wbm_faulty(name.encode(), ctypes.c_uint64(seed), ctypes.c_void_p(address(values)))
        return (None if error is None else error.decode()), values.tolist()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if shutil.which(compiler[0]) is None:
        pytest.skip("needs a C++ compiler (CXX or g++)")
    path = tmp_path_factory.mktemp("cuda_on_cpu") / "shim.so"
    sources = [ROOT / "csrc" / "cuda" / "forward.cu", *sorted(SHIM.glob("*.cpp"))]
    # _FORTIFY_SOURCE refuses a longjmp to another stack, which is what a fiber is.
    flags = [
        "-std=c++17",
        "-O2",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-U_FORTIFY_SOURCE",
        "-DWBM_CUDA_ON_CPU",
    ]
    command = [
        *compiler,
        *flags,
        f"-I{ROOT / 'csrc'}",
        f"-I{SHIM}",
        "-x",
        "c++",
        *map(str, sources),
        "-o",
        str(path),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Shim(path)


def make(
    batch: int = 3,
    n: int = 19,
    m: int = 40,
    kappa: tuple[float, float] = (INF, INF),
    epsilon: float = 0.15,
    dtype: type = np.float64,
    seed: int = 0,
    **options: object,
) -> Case:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 1, (batch, n, m)).astype(dtype)
    a, b = rng.dirichlet(np.full(n, 3.0), batch), rng.dirichlet(np.full(m, 3.0), batch)
    if np.isfinite(kappa).any():
        a = a * rng.uniform(0.6, 1.6, (batch, 1))
    strength = epsilon * rng.uniform(0.8, 1.2, batch)
    return Case(cost, a, b, strength, np.tile(np.array(kappa), (batch, 1)), **options)


def with_holes(case: Case, seed: int = 1) -> Case:
    """A tenth of the pairs at +inf, and a few masses of zero (both totals kept)."""
    rng = np.random.default_rng(seed)
    cost, a, b = case.cost.copy(), case.a.copy(), case.b.copy()
    cost[rng.uniform(size=cost.shape) < 0.1] = INF
    for mass in (a, b):
        total = mass.sum(1, keepdims=True)
        mass[:, 1::7] = 0.0
        mass *= total / mass.sum(1, keepdims=True)
    return replace(case, cost=cost, a=a, b=b)


def with_mask(case: Case, seed: int = 2) -> Case:
    """Three tenths of the pairs masked; D is NaN there, which must not be read into anything."""
    mask = (np.random.default_rng(seed).uniform(size=case.shape) < 0.7).astype(np.uint8)
    return replace(case, mask=mask, cost=np.where(mask, case.cost, NAN).astype(case.cost.dtype))


def with_padding(case: Case) -> Case:
    """Rows in a wider array, problems in a longer one, NaN in between."""
    batch, n, m = case.shape
    wide = np.full((batch, n + 2, m + 5), NAN, case.cost.dtype)
    wide[:, :n, :m] = case.cost
    mask = np.zeros((batch, n, m + 3), np.uint8)
    mask[:, :, :m] = 1
    return replace(case, cost=wide[:, :n, :m], mask=mask[:, :, :m])


def check(shim: Shim, case: Case, seed: int = 1, iterations: bool = True) -> dict[str, np.ndarray]:
    expected, got = solve_on_cpu(case), shim.solve(case, seed)
    np.testing.assert_array_equal(got["status"], expected["status"])
    if iterations:
        np.testing.assert_array_equal(got["iterations"], expected["iterations"])
    for name in ("f", "g", "sharp", "regularized", "mass", "residual"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-10, atol=1e-10, err_msg=name)
    return got


KAPPAS = {
    "balanced": (INF, INF),
    "soft_rows": (0.5, INF),
    "soft_columns": (INF, 2.0),
    "unbalanced": (1.5, 0.4),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("kind", KAPPAS)
def test_every_kind_of_marginal(shim: Shim, kind: str, reference: int, dtype: type) -> None:
    case = make(kappa=KAPPAS[kind], reference=reference, dtype=dtype)
    assert (check(shim, case)["status"] == CONVERGED).all()


@pytest.mark.parametrize("kind", KAPPAS)
def test_holes_masks_and_padding(shim: Shim, kind: str) -> None:
    case = with_holes(make(kappa=KAPPAS[kind], reference=PRODUCT, dtype=np.float32, seed=3))
    got = check(shim, case)
    assert np.isneginf(got["f"][:, 1::7]).all()
    masked = with_mask(make(kappa=KAPPAS[kind], seed=4))
    check(shim, masked)
    padded = make(kappa=KAPPAS[kind], seed=5)
    dense, apart = check(shim, padded), check(shim, with_padding(padded))
    for name in dense:
        np.testing.assert_array_equal(dense[name], apart[name])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (40, 1), (33, 32), (8, 9)])
def test_shapes(shim: Shim, n: int, m: int) -> None:
    check(shim, make(batch=2, n=n, m=m))
    check(shim, make(batch=2, n=n, m=m, kappa=(0.5, 0.7)))


def test_more_columns_than_threads_of_a_row(shim: Shim) -> None:
    check(shim, make(batch=1, n=3, m=150, max_iter=5, tol=0.0))
    check(shim, make(batch=1, n=150, m=3, max_iter=5, tol=0.0))


def test_more_rows_than_threads_of_a_problem(shim: Shim) -> None:
    check(shim, make(batch=1, n=530, m=2, max_iter=3, kappa=(0.5, 0.7)))
    check(shim, make(batch=1, n=2, m=530, max_iter=3, kappa=(0.5, 0.7)))


def test_expanded_batch(shim: Shim) -> None:
    case = make(batch=5)
    shared = np.broadcast_to(case.cost[:1], case.shape)
    mask = np.broadcast_to(with_mask(case).mask[:1], case.shape)
    check(shim, replace(case, cost=shared, mask=mask))
    check(shim, replace(case, cost=np.broadcast_to(case.cost[:, :1], case.shape)))


def test_empty_batch(shim: Shim) -> None:
    assert shim.solve(make(batch=0))["f"].shape == (0, 19)


def test_warm_start(shim: Shim) -> None:
    case = make(kappa=(0.8, 0.9), tol=1e-9)
    first = check(shim, case)
    again = check(shim, replace(case, init_g=first["g"].copy()))
    assert (again["iterations"] == 1).all()
    start = np.random.default_rng(0).normal(size=case.b.shape)
    start[:, 3] = -INF  # a column that had no mass in an earlier solve
    check(shim, replace(case, init_g=start))


@pytest.mark.parametrize("method", [SINKHORN, ACCELERATED])
@pytest.mark.parametrize("kind", KAPPAS)
def test_fixed_iterations_and_history(shim: Shim, kind: str, method: int) -> None:
    case = with_holes(make(kappa=KAPPAS[kind], method=method, tol=0.0, max_iter=7, history=True))
    got, expected = check(shim, case), solve_on_cpu(case)
    assert (got["iterations"] == 7).all()
    assert (got["status"] & LIMIT).all()
    np.testing.assert_allclose(got["history"], expected["history"], rtol=1e-10, atol=1e-10)


def test_history_of_problems_that_stop(shim: Shim) -> None:
    case = make(kappa=(0.8, 0.9), tol=1e-3, max_iter=60, history=True)
    got, expected = check(shim, case), solve_on_cpu(case)
    for p, count in enumerate(got["iterations"]):
        np.testing.assert_allclose(
            got["history"][p, : count + 1], expected["history"][p, : count + 1], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("kind", KAPPAS)
def test_scaling_criterion(shim: Shim, kind: str) -> None:
    case = make(kappa=KAPPAS[kind], criterion=SCALING, tol=1e-7, epsilon=0.3)
    assert (check(shim, case)["status"] == CONVERGED).all()


def test_problems_stop_separately(shim: Shim) -> None:
    case = make(batch=5)
    case = replace(case, epsilon=np.array([0.5, 0.02, 0.2, 0.1, 0.05]), max_iter=40)
    got = check(shim, case)
    assert len(set(got["iterations"])) > 2
    assert got["status"][0] == CONVERGED
    assert got["status"][1] == LIMIT


def test_stagnation(shim: Shim) -> None:
    # The count depends on the last bit of every sum, hence is not compared.
    got = check(shim, make(batch=2, n=9, m=9, epsilon=0.3, tol=1e-30, max_iter=400), iterations=False)
    assert (got["status"] == STAGNATED).all()
    assert (got["iterations"] < 400).all()


def test_overflow_is_told(shim: Shim) -> None:
    case = make(batch=2, n=9, m=9, kappa=(1.0, 1.0), max_iter=5)
    huge = np.where(case.cost < 0.5, -1.5e308, 1.5e308)
    got = check(shim, replace(case, cost=put(case.cost, 0, huge[0])))
    np.testing.assert_array_equal(got["status"], [OVERFLOW | LIMIT, LIMIT])


def test_rescaled_masses(shim: Shim) -> None:
    case = make()
    got = check(shim, replace(case, b=case.b * np.array([[1.0], [1.0005], [1.0 + 1e-9]])))
    np.testing.assert_array_equal(got["status"] & RESCALED, [0, RESCALED, 0])


def test_nothing_to_transport(shim: Shim) -> None:
    case = make(kappa=(0.5, 0.7))
    got = check(shim, replace(case, cost=np.full_like(case.cost, INF)))
    np.testing.assert_array_equal(got["mass"], 0.0)
    got = check(shim, replace(case, a=np.zeros_like(case.a), b=np.zeros_like(case.b)))
    np.testing.assert_array_equal(got["residual"], 0.0)


def put(array: np.ndarray, *index_and_value: object) -> np.ndarray:
    *index, value = index_and_value
    copy = array.copy()
    copy[tuple(index)] = value
    return copy


REFUSALS = {
    "nan_cost": (NAN_COST, lambda c: replace(c, cost=put(c.cost, 1, 4, 6, NAN))),
    "minus_inf_cost": (NAN_COST, lambda c: replace(c, cost=put(c.cost, 1, 18, 39, -INF))),
    "negative_mass": (INVALID_MASS, lambda c: replace(c, a=put(c.a, 1, 3, -0.1))),
    "nan_mass": (INVALID_MASS, lambda c: replace(c, b=put(c.b, 1, 39, NAN))),
    "infinite_mass": (INVALID_MASS, lambda c: replace(c, b=put(c.b, 1, 0, INF))),
    "unequal": (UNEQUAL, lambda c: replace(c, a=put(c.a, 1, 1.01 * c.a[1]))),
    "isolated_row": (ISOLATED, lambda c: replace(c, cost=put(c.cost, 1, 2, INF))),
    "isolated_column": (ISOLATED, lambda c: replace(c, cost=put(c.cost, 1, slice(None), 33, INF))),
    "epsilon": (INVALID_STRENGTH, lambda c: replace(c, epsilon=put(c.epsilon, 1, -1.0))),
    "kappa": (INVALID_STRENGTH, lambda c: replace(c, kappa=put(c.kappa, 1, 0, 0.0))),
    "init": (INVALID_INIT, lambda c: replace(c, init_g=put(np.zeros_like(c.b), 1, 5, NAN))),
    "nan_cost_and_epsilon": (
        NAN_COST,
        lambda c: replace(c, cost=put(c.cost, 1, 4, 6, NAN), epsilon=put(c.epsilon, 1, NAN)),
    ),
    "several": (
        NAN_COST | INVALID_MASS | ISOLATED,
        lambda c: replace(
            c, cost=put(put(c.cost, 1, 4, 6, NAN), 1, 2, INF), a=put(c.a, 1, 3, -0.1)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused_problem_leaves_its_neighbours_alone(shim: Shim, reason: str) -> None:
    bits, spoil = REFUSALS[reason]
    got = check(shim, spoil(make(tol=1e-4)))
    assert got["status"][1] & REFUSED == bits
    assert np.isnan(got["f"][1]).all()
    assert np.isnan(got["g"][1]).all()
    assert np.isnan([got[name][1] for name in ("sharp", "regularized", "mass", "residual")]).all()
    assert got["iterations"][1] == 0
    assert (got["status"][[0, 2]] == CONVERGED).all()


def demanding() -> Case:
    """Passes every barrier: several warps a block, tests, translations."""
    return with_mask(with_holes(make(batch=3, n=36, m=40, kappa=(0.9, 1.3), max_iter=6, tol=1e-12, history=True)))


def same(x: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> bool:
    return all(x[name].tobytes() == y[name].tobytes() for name in x)


def test_no_schedule_changes_a_bit(shim: Shim) -> None:
    for case in (demanding(), make(batch=2, criterion=SCALING, tol=1e-3), make(batch=2, n=9, m=9, tol=1e-30)):
        first = shim.solve(case, seed=1)
        for seed in range(2, 6):
            assert same(first, shim.solve(case, seed))


def test_every_barrier_is_needed(shim: Shim) -> None:
    """Each barrier of the kernels, left out, changes results or stops the run: the schedules do their work.

    ``block_any`` is not among them: its barrier carries its value.
    """
    case = demanding()
    sound = shim.solve(case)
    barriers = [b for b in shim.barriers() if not b.startswith("faulty.cpp")]
    assert len(barriers) >= 5
    missed = []
    for barrier in barriers:
        for seed in range(1, 6):
            try:
                if not same(sound, shim.solve(case, seed, dropped=barrier)):
                    break
            except (RuntimeError, AssertionError):
                break
        else:
            missed.append(barrier)
    assert missed == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("returns_early", "63 threads wait"),
        ("two_barriers", "meet at two barriers"),
        ("part_of_a_warp", "7 threads wait"),
        ("out_of_bounds", "out of bounds: index 63"),
    ],
)
def test_a_fault_stops_the_run(shim: Shim, fault: str, message: str) -> None:
    error, _ = shim.faulty(fault, seed=1)
    assert error is not None
    assert message in error
    assert shim.faulty("sound", seed=2) == (None, [2016.0] * 4)


def test_a_race_shows_between_seeds(shim: Shim) -> None:
    assert len({tuple(shim.faulty("no_barrier", seed)[1]) for seed in range(8)}) > 1
    assert np.isnan(shim.faulty("not_initialised", seed=1)[1]).all()
