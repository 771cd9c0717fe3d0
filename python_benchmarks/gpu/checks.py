"""Correctness on a device: fresh random problems of every kind, forward and backward, against float64 on the CPU.

    python -m python_benchmarks.gpu.checks [--seed N] [--small]

Every tensor that the solver leaves to be written is full of NaN (integers: of their largest value) beforehand. The
reference gets the same numbers in float64; errors are |got - expected| / |expected|. Each case runs twice, and the two
answers agree to the last bit. Captured in a CUDA graph, a solve and its backward give the same bits on new data.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import wbm_ext
from python_benchmarks._harness import Record
from python_benchmarks.gpu import device as gpu

LIMITS = {torch.float64: 1e-7, torch.float32: 1e-3}  # gradients hold the residual times the system's condition
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-6}
INF = math.inf
KAPPAS = {"balanced": (INF, INF), "hard rows": (INF, 0.7), "hard columns": (1.5, INF), "unbalanced": (2.0, 0.5)}
# one block a problem, a cluster, the whole chip, streamed; and shapes that no tile divides
SIZES = {
    "tiny": (5, 5, 7),
    "block": (4, 64, 64),
    "uneven": (3, 41, 471),
    "cluster": (1, 500, 400),
    "chip": (1, 1500, 1300),
    "streamed": (1, 3001, 2999),
}


@dataclass(frozen=True)
class Case:
    """A batch of problems of one kind, and how it is solved and differentiated."""

    size: str
    kind: str
    reference: str
    dtype: torch.dtype
    grad: str
    holes: bool  # forbidden pairs, a mask, zero masses

    @property
    def name(self) -> str:
        holes = ", holes" if self.holes else ""
        return (
            f"{self.size}, {self.kind}, {self.reference}, {str(self.dtype).removeprefix('torch.')}, {self.grad}{holes}"
        )


def cases(small: bool) -> Iterator[Case]:
    """Every kind at the two smallest sizes; at the others every gradient and type on two kinds."""
    kinds, types, grads = tuple(KAPPAS), (torch.float32, torch.float64), ("implicit", "unrolled", "frozen")
    for size, kind, reference, dtype, grad in itertools.product(
        ("tiny", "block"), kinds, ("entropy", "product"), types, grads
    ):
        yield Case(size, kind, reference, dtype, grad, holes=size == "tiny")
    if small:
        return
    for size, kind, dtype, grad in itertools.product(
        list(SIZES)[2:], ("balanced", "unbalanced"), types, ("implicit", "unrolled")
    ):
        yield Case(size, kind, "entropy", dtype, grad, holes=size == "uneven")


@dataclass(frozen=True, eq=False)
class Data:
    """What a case is solved on, and the weights of the loss."""

    D: Tensor
    a: Tensor
    b: Tensor
    mask: Tensor | None
    epsilon: float
    weights: tuple[Tensor, ...]

    def on(self, device: str, dtype: torch.dtype) -> Data:
        def move(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=dtype)

        mask = None if self.mask is None else self.mask.to(device)
        weights = tuple(move(x) for x in self.weights)
        return Data(move(self.D), move(self.a), move(self.b), mask, self.epsilon, weights)


def draw(case: Case, rng: np.random.Generator) -> Data:
    """Squared distances of two clouds, uneven masses; with ``holes`` zero masses and forbidden pairs too."""
    batch, n, m = SIZES[case.size]
    x, y = rng.standard_normal((batch, n, 1, 3)), rng.standard_normal((batch, 1, m, 3)) + 0.5
    D = ((x - y) ** 2).sum(-1).astype(np.float32 if case.dtype == torch.float32 else np.float64)
    a, b = rng.uniform(0.5, 1.5, (batch, n)), rng.uniform(0.5, 1.5, (batch, m))
    mask = None
    if case.holes:
        a[:, 1::4], b[:, 2::5] = 0.0, 0.0
        D[rng.uniform(size=D.shape) < 0.05] = INF
        mask = torch.from_numpy(rng.uniform(size=D.shape) < 0.95)
    a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
    if case.kind != "balanced":
        a = 1.3 * a
    shapes = ((batch,), (batch,), (batch, n), (batch, m))
    weights = tuple(torch.from_numpy(rng.standard_normal(shape)) for shape in shapes)
    cost, rows, columns = (torch.from_numpy(z).to(case.dtype) for z in (D, a, b))
    return Data(cost, rows, columns, mask, 0.3, weights)


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """New tensors hold NaN, or the largest integer, until they are written."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def answer(case: Case, data: Data, tolerance: float) -> dict[str, Tensor]:
    """Costs, potentials and the gradients of a weighted sum of all four."""
    D, a, b = (x.clone().requires_grad_() for x in (data.D, data.a, data.b))
    unrolled = case.grad == "unrolled"
    stop = {"method": "sinkhorn", "tol": 0.0, "max_iter": 12} if unrolled else {"tol": tolerance, "max_iter": 5000}
    how = {"epsilon": data.epsilon, "kappa": KAPPAS[case.kind], "reference": case.reference, "grad": case.grad}
    found = wbm_ext.solve(D, a, b, mask=data.mask, **how, **stop)  # type: ignore[arg-type]
    f, g = (x.masked_fill(mass == 0, 0.0) for x, mass in ((found.f, a), (found.g, b)))
    values = (found.cost, found.regularized_cost, f, g)
    loss = sum((w * x).sum() for w, x in zip(data.weights, values, strict=True))
    gradients = torch.autograd.grad(loss, (D, a, b))  # type: ignore[arg-type]
    named = (*values, *gradients)
    return dict(zip(("cost", "regularized", "f", "g", "dD", "da", "db"), (x.detach() for x in named), strict=True))


def error(got: Tensor, expected: Tensor) -> float:
    """|got - expected| / |expected| in float64; infinite where ``got`` is not finite."""
    got = got.double().cpu()
    if not bool(got.isfinite().all()):
        return INF
    size = float(expected.norm())
    return float((got - expected).norm()) / size if size > 0 else float(got.norm())


def judge(case: Case, seed: int, device: str = "cuda") -> Record:
    """Errors of one case, and whether two runs agree to the bit."""
    index = next(k for k, other in enumerate(cases(small=False)) if other == case)
    data = draw(case, np.random.default_rng((seed, index)))
    expected = answer(case, data.on("cpu", torch.float64), TOLERANCE[torch.float64])
    there = data.on(device, case.dtype)
    with poisoned():
        first, second = (answer(case, there, TOLERANCE[case.dtype]) for _ in range(2))
    errors = {name: error(first[name], expected[name]) for name in expected}
    same = all(torch.equal(first[name], second[name]) for name in first)
    right = max(errors.values()) <= LIMITS[case.dtype] and same
    return {"errors": errors, "limit": LIMITS[case.dtype], "same_bits_twice": same, "right": right}


def replay(seed: int) -> Record:
    """A solve and its backward captured in a CUDA graph, replayed on new data; the bits of the eager call."""
    case = Case("block", "unbalanced", "entropy", torch.float32, "implicit", holes=False)
    rng = np.random.default_rng((seed, 10**6))
    first, second = (draw(case, rng).on("cuda", case.dtype) for _ in range(2))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        answer(case, first, 1e-6)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = answer(case, first, 1e-6)
    inputs, fresh = ((x.D, x.a, x.b, *x.weights) for x in (first, second))
    for there, new in zip(inputs, fresh, strict=True):
        there.copy_(new)
    graph.replay()
    expected = answer(case, second, 1e-6)
    return {"right": all(torch.equal(captured[name], expected[name]) for name in expected)}


def run(seed: int, small: bool, device: str = "cuda") -> tuple[list[str], int]:
    """One line for each case that failed, and the number of cases."""
    wrong, count = [], 0
    for case in cases(small):
        count += 1
        found = judge(case, seed, device)
        if found["right"]:
            continue
        name = max(found["errors"], key=found["errors"].__getitem__)
        same = "" if found["same_bits_twice"] else "; two runs differ"
        wrong.append(f"{case.name}: {name} off by {found['errors'][name]:.1e}, limit {found['limit']:.0e}{same}")
    if device == "cuda":
        count += 1
        if not replay(seed)["right"]:
            wrong.append("a replayed CUDA graph and the eager call differ")
    return wrong, count


def report(seed: int, small: bool) -> bool:
    """Run and print; True when all is right."""
    wrong, count = run(seed, small)
    print("\n".join(wrong) + ("\n" if wrong else "") + f"{count - len(wrong)} of {count} checks right, seed {seed}")
    return not wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m python_benchmarks.gpu.checks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=None, help="of the random problems; default: a new one, printed")
    parser.add_argument("--small", action="store_true", help="the two smallest sizes only")
    options = parser.parse_args(argv)
    if reason := gpu.missing():
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    return 0 if report(seed, options.small) else 1


if __name__ == "__main__":
    sys.exit(main())
