"""Problems for the CUDA kernels on the host, as numpy arrays, and the memory that the answers are written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

INF, NAN = np.inf, np.nan
FLOAT16, BFLOAT16 = 1, 2
ENTROPY, PRODUCT = 0, 1
MARGINAL, SCALING = 0, 1
SINKHORN, ACCELERATED = 0, 1
CONVERGED, LIMIT, STAGNATED, OVERFLOW, RESCALED = 1, 2, 4, 8, 16
NAN_COST, INVALID_MASS, UNEQUAL, ISOLATED, INVALID_STRENGTH, INVALID_INIT = 32, 64, 128, 256, 512, 1024
REFUSED = ~31

KAPPAS = {
    "balanced": (INF, INF),
    "soft_rows": (0.5, INF),
    "soft_columns": (INF, 2.0),
    "unbalanced": (1.5, 0.4),
}


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
    short: np.ndarray | None = None  # what the kernels read in the place of cost: the same numbers in 16 bits
    bits16: int = 0

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


def address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def _strides(array: np.ndarray) -> tuple[int, int]:
    assert array.size == 0 or array.shape[2] == 1 or array.strides[2] == array.itemsize
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def fields(case: Case) -> dict[str, int]:
    """The problem by the names of ``csrc/problem.h``."""
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
    read = case.cost if case.short is None else case.short
    given["cost"] = address(read)
    given["cost_stride_problem"], given["cost_stride_row"] = _strides(read)
    if case.mask is not None:
        given["mask_stride_problem"], given["mask_stride_row"] = _strides(case.mask)
    return given


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


def shortened(values: np.ndarray, bits16: int) -> np.ndarray:
    """Float32 numbers in the nearest of 16 bits, as integers."""
    if bits16 == FLOAT16:
        return values.astype(np.float16).view(np.uint16)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def lengthened(bits: np.ndarray, bits16: int) -> np.ndarray:
    """The numbers that such integers stand for, in float32."""
    if bits16 == FLOAT16:
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def with_16_bits(case: Case, bits16: int) -> Case:
    """D rounded to 16 bits, for the kernels in such a type, for the CPU as float32; strides and all else as they are."""
    short = shortened(case.cost.astype(np.float32), bits16)
    cost = lengthened(short, bits16)
    if case.cost.base is not None and not case.cost.flags.c_contiguous:  # rows apart, as in with_padding
        batch, n, m = case.shape
        wide = np.full((batch, n + 1, m + 3), 0xFFFF, np.uint16)
        wide[:, :n, :m] = short
        short = wide[:, :n, :m]
    return replace(case, cost=cost, short=short, bits16=bits16)


def put(array: np.ndarray, *index_and_value: object) -> np.ndarray:
    *index, value = index_and_value
    copy = array.copy()
    copy[tuple(index)] = value
    return copy


# What a refused problem has wrong, and its status.
REFUSALS: dict[str, tuple[int, Callable[[Case], Case]]] = {
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
        lambda c: replace(c, cost=put(put(c.cost, 1, 4, 6, NAN), 1, 2, INF), a=put(c.a, 1, 3, -0.1)),
    ),
}


def same(x: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> bool:
    """Bit for bit."""
    return all(x[name].tobytes() == y[name].tobytes() for name in x)
