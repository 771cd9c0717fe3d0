"""Correctness on a device: fresh random problems of every kind, forward and backward, against float64 on the CPU.

    python -m python_benchmarks.gpu.checks [--seed N] [--small | --sanitized]

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import wbm_ext
from python_benchmarks._harness import Record, Store, Task
from python_benchmarks.gpu import device as gpu

# gradients hold the residual times the system's condition, and are rounded to D's type
LIMITS = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 2e-3, torch.bfloat16: 1e-2}
TOLERANCE = {torch.float64: 1e-11} | dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), 1e-6)
INF = math.inf
KAPPAS = {"balanced": (INF, INF), "hard rows": (INF, 0.7), "hard columns": (1.5, INF), "unbalanced": (2.0, 0.5)}
# One block a problem, a cluster, the whole chip, streamed by it and by a block a problem; shapes that no tile divides.
SIZES = {
    "tiny": (5, 5, 7),
    "block": (4, 64, 64),
    "uneven": (3, 41, 471),
    "cluster": (1, 500, 400),
    "chip": (1, 1500, 1300),
    "streamed": (1, 3001, 2999),
    "long": (1, 901, 9001),
    "many": (133, 700, 680),
}
FEW = {"long": 12, "many": 12}  # iterations where more would only cost time
SHORT = {"tiny": torch.float16, "block": torch.float16, "cluster": torch.bfloat16, "chip": torch.bfloat16,
         "streamed": torch.bfloat16}  # fmt: skip
REPLAY = "a replayed CUDA graph"
# for compute-sanitizer, a hundred times slower: as little as takes the road, and few iterations
SANITIZED = {"tiny": (5, 5, 7), "cluster": (1, 300, 260), "chip": (1, 720, 730), "streamed": (1, 2810, 2820)}


@dataclass(frozen=True)
class Case:
    """A batch of problems of one kind, and how it is solved and differentiated."""

    size: str
    kind: str
    reference: str
    dtype: torch.dtype
    grad: str
    holes: bool  # forbidden pairs, a mask, zero masses
    criterion: str = "marginal"
    shape: tuple[int, int, int] | None = None  # other than that of the size
    most: int = 5000  # iterations

    @property
    def name(self) -> str:
        holes = (", scaling" if self.criterion == "scaling" else "") + (", holes" if self.holes else "")
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
    short = {size: kind for size, kind in SHORT.items() if not small or size in ("tiny", "block")}
    for (size, dtype), grad in itertools.product(short.items(), ("implicit", "unrolled")):
        yield Case(size, "unbalanced", "entropy", dtype, grad, holes=size == "tiny")
    for dtype in types:
        yield Case("block", "unbalanced", "entropy", dtype, "implicit", holes=False, criterion="scaling")
    if small:
        return
    for size, kind, dtype, grad in itertools.product(
        list(SIZES)[2:], ("balanced", "unbalanced"), types, ("implicit", "unrolled")
    ):
        if size == "many" and (kind == "balanced" or grad == "unrolled"):
            continue  # its memory
        yield Case(size, kind, "entropy", dtype, grad, holes=size == "uneven", most=FEW.get(size, 5000))


def sanitized() -> Iterator[Case]:
    """A few iterations in every regime, forward and backward."""
    for size, shape in SANITIZED.items():
        for dtype, grad in itertools.product((torch.float32, torch.float64), ("implicit", "unrolled")):
            if size == "streamed" and (grad, dtype) != ("implicit", torch.float32):
                continue
            yield Case(size, "unbalanced", "entropy", dtype, grad, holes=size == "tiny", shape=shape, most=12)
        yield Case(size, "unbalanced", "entropy", torch.bfloat16, "implicit", False, shape=shape, most=12)


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
        real = dtype if dtype == torch.float64 else torch.float32  # of all but D

        def move(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=real)

        mask = None if self.mask is None else self.mask.to(device)
        weights = tuple(move(x) for x in self.weights)
        return Data(self.D.to(device=device, dtype=dtype), move(self.a), move(self.b), mask, self.epsilon, weights)


def draw(case: Case, rng: np.random.Generator) -> Data:
    """Squared distances of two clouds, uneven masses; with ``holes`` zero masses and forbidden pairs too."""
    batch, n, m = case.shape or SIZES[case.size]
    x, y = rng.standard_normal((batch, n, 1, 3)), rng.standard_normal((batch, 1, m, 3)) + 0.5
    D = ((x - y) ** 2).sum(-1).astype(np.float64 if case.dtype == torch.float64 else np.float32)
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
    real = torch.float64 if case.dtype == torch.float64 else torch.float32
    rows, columns = (torch.from_numpy(z).to(real) for z in (a, b))
    return Data(torch.from_numpy(D).to(case.dtype), rows, columns, mask, 0.3, weights)


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
    stop: dict[str, object] = {"tol": tolerance, "max_iter": case.most, "criterion": case.criterion}
    if unrolled or case.most <= 12:  # both sides run as many
        stop = {"method": "sinkhorn", "tol": 0.0, "max_iter": 12}
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


def check(case: Case, seed: int, device: str = "cuda") -> Record:
    """Errors of one case, and whether two runs agree to the bit."""
    data = draw(case, np.random.default_rng((seed, *case.name.encode())))
    tight = TOLERANCE[torch.float64]
    expected = answer(case, data.on("cpu", torch.float64), tight)
    there, tolerance = data.on(device, case.dtype), TOLERANCE[case.dtype] if case.criterion == "marginal" else tight
    with poisoned():
        first, second = (answer(case, there, tolerance) for _ in range(2))
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


def tasks(seed: int, small: bool) -> list[Task]:
    """Every case, and the replayed graph, as tasks of the harness."""

    def task_of(case: Case) -> Task:
        return Task(f"check|{case.name}|wbm_ext", lambda _: check(case, seed))

    return [*map(task_of, cases(small)), Task(f"check|{REPLAY}|wbm_ext", lambda _: replay(seed))]


def wrong_at(size: str, store: Store) -> list[str]:
    """The checks of a size that failed in this run."""
    return [
        key.split("|")[1]
        for key, record in store.records.items()
        if key.startswith(f"check|{size},") and not record.get("right")
    ]


def verdict(name: str, found: Record) -> str:
    """What is wrong with a case, nothing where it is right."""
    if found.get("right"):
        return ""
    if "error" in found:
        return f"{name}: {found['error']}"
    if "errors" not in found:
        return f"{name} and the eager call differ"
    worst = max(found["errors"], key=found["errors"].__getitem__)
    same = "" if found["same_bits_twice"] else "; two runs differ"
    return f"{name}: {worst} off by {found['errors'][worst]:.1e}, limit {found['limit']:.0e}{same}"


def run(seed: int, some: Iterable[Case], device: str = "cuda") -> tuple[list[str], int]:
    """One line for each case that failed, and the number of cases."""
    wrong, count = [], 0
    for case in some:
        count += 1
        try:
            found = check(case, seed, device)
        except RuntimeError as error_:
            found = {"error": str(error_).strip().splitlines()[0]}
        wrong += filter(None, [verdict(case.name, found)])
    return wrong, count


def report(wrong: list[str], count: int, seed: int) -> bool:
    """Print; True when all is right."""
    print("\n".join(wrong) + ("\n" if wrong else "") + f"{count - len(wrong)} of {count} checks right, seed {seed}")
    return not wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m python_benchmarks.gpu.checks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=None, help="of the random problems; default: a new one, printed")
    parser.add_argument("--small", action="store_true", help="the two smallest sizes only")
    parser.add_argument(
        "--sanitized", action="store_true", help="few iterations in every regime, for compute-sanitizer"
    )
    options = parser.parse_args(argv)
    if reason := gpu.missing():
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    some = list(sanitized() if options.sanitized else cases(options.small))
    wrong, count = run(seed, some)
    if not options.sanitized:  # its memory comes from no pool, and a capture allows no other
        count += 1
        wrong += filter(None, [verdict(REPLAY, replay(seed))])
    return 0 if report(wrong, count, seed) else 1


if __name__ == "__main__":
    sys.exit(main())
