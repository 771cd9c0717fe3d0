"""Times on a GPU between events: medians with quartiles, against the goals of a solve in one launch.

Other libraries stand beside this solver in ``python -m python_benchmarks.peers --device cuda``.

Iterations are timed as a captured CUDA graph's replays, at two counts; the difference is theirs alone. Data are drawn
anew for each measurement, never zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import wbm_ext
from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import SHIFT, clouds
from python_benchmarks.gpu.checks import wrong_at
from python_benchmarks.gpu.timing import captured, timed
from wbm_ext.losses.balancing import balance

# seconds for an iteration of one problem, float32, by n = m
PER_ITERATION = {64: 0.4e-6, 128: 1e-6, 224: 1e-6, 512: 2e-6, 1024: 3e-6, 2048: 5e-6}
BANDWIDTH = {4096: 0.85, 16384: 0.85}  # share of the copy bandwidth, one read of D an iteration
BATCH = (1024, 64, 100, 60e-6)  # problems, n = m, iterations, seconds in all
WBM = {0.05: 0.3e-3, 0.01: 1.5e-3}  # seconds forward + backward by relative epsilon
WBM_SHAPES = ((256, 256), (41, 471))
RESIDUAL = {torch.float64: 1e-9, torch.float32: 1e-6}  # what float32 reaches at these epsilons
BACKWARD = (64, 256, 1024)
FEW, MANY = 100, 500  # iterations
MOST = 100_000  # iterations of a solve to a residual


@dataclass(frozen=True)
class Settings:
    """Seconds for the repeats of one timing, whether only small sizes are run, the data's seed, where it runs."""

    budget: float
    quick: bool
    seed: int
    device: str = "cuda"  # "cpu" only to try the commands without a GPU: no graphs, a clock for the events

    @property
    def timing(self) -> tuple[float, str]:
        """What ``timed`` wants beside the call."""
        return self.budget, self.device

    def pick(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return sizes[:2] if self.quick else sizes


def problem(n: int, settings: Settings, batch: int | None = None) -> tuple[Tensor, Tensor, Tensor, float]:
    """D, a, b on the device and ε = 0.05 mean(D): clouds in 32 dimensions, float32."""
    if n > 4096:  # on the device: the host would need minutes
        generator = torch.Generator(settings.device).manual_seed(settings.seed)
        x, y = (torch.randn(n, 32, device=settings.device, generator=generator) for _ in range(2))
        D = torch.cdist(x, y + SHIFT).square_()
        mass = torch.full((n,), 1 / n, device=settings.device)
        return D, mass, mass.clone(), 0.05 * float(D.mean())
    drawn = clouds(n, 0.05, settings.seed, "float32", batch)
    D, a, b = (torch.from_numpy(x).to(settings.device) for x in (drawn.D, drawn.a, drawn.b))
    return D, a, b, drawn.epsilon


def iterations(data: tuple[Tensor, Tensor, Tensor, float], count: int) -> Callable[[], object]:
    D, a, b, epsilon = data

    def call() -> object:
        with torch.no_grad():
            return wbm_ext.solve(D, a, b, epsilon=epsilon, method="sinkhorn", tol=0.0, max_iter=count)

    return call


def difference(few: harness.Timing, many: harness.Timing) -> float:
    """Seconds of one iteration between the two counts."""
    return (many.median - few.median) / (MANY - FEW)


def per_iteration(n: int, settings: Settings) -> Record:
    data = problem(n, settings)
    few, many = (timed(captured(iterations(data, count), settings.device), *settings.timing) for count in (FEW, MANY))
    each = difference(few, many)
    found = {"n": n, "few": few.record(), "many": many.record(), "seconds_per_iteration": each}
    if n in PER_ITERATION:
        found |= {"goal": PER_ITERATION[n], "met": each <= PER_ITERATION[n]}
    return found


def copy_bandwidth(settings: Settings) -> float:
    """Bytes a second of a large copy on the device, read and written."""
    source = torch.randn(2**26 if settings.quick else 2**28, device=settings.device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / timed(lambda: target.copy_(source), *settings.timing).median


def bandwidth(n: int, settings: Settings) -> Record:
    available, found = copy_bandwidth(settings), per_iteration(n, settings)
    share = 4.0 * n * n / found["seconds_per_iteration"] / available
    return found | {
        "copy_bytes_per_second": available,
        "share": share,
        "goal": BANDWIDTH[n],
        "met": share >= BANDWIDTH[n],
    }


def batch(settings: Settings) -> Record:
    count, n, steps, goal = BATCH
    time = timed(captured(iterations(problem(n, settings, count), steps), settings.device), *settings.timing)
    return {"problems": count, "n": n, "iterations": steps, "seconds": time.record(), "goal": goal,
            "met": time.median <= goal}  # fmt: skip


def wbm(shape: tuple[int, int], relative: float, dtype: torch.dtype, settings: Settings) -> Record:
    """The loss and its gradient in the propensities, k = 32; float64 to 1e-9, float32 as far as it gets."""
    n, m = shape
    rng = np.random.default_rng((settings.seed, n, m))
    treated = rng.permutation(n + m) < n
    phi = rng.standard_normal((n + m, 32)) + SHIFT * treated[:, None]
    q, treatment, representation = (
        torch.from_numpy(x).to(settings.device) for x in (rng.uniform(0.2, 0.8, n + m), treated, phi)
    )
    q, representation = q.to(dtype).requires_grad_(), representation.to(dtype)
    tol = RESIDUAL[dtype]

    def call() -> Any:
        q.grad = None
        found = balance(q, treatment, representation, epsilon=relative, scale_cost=True, tol=tol, max_iter=MOST)
        found.value.backward()
        return found

    result = call().result
    time, goal = timed(call, *settings.timing), WBM[relative]
    return {"n": n, "m": m, "relative_epsilon": relative, "type": str(dtype).removeprefix("torch."), "tol": tol,
            "residual": float(result.residual), "iterations": int(result.iterations), "seconds": time.record(),
            "goal": goal, "met": time.median <= goal and float(result.residual) <= tol}  # fmt: skip


def backward(n: int, settings: Settings) -> Record:
    """The implicit backward of the sharp cost over the plain forward to the same tolerance."""
    D, a, b, epsilon = problem(n, settings)
    D.requires_grad_()

    def forward() -> wbm_ext.SinkhornResult:
        return wbm_ext.solve(D, a, b, epsilon=epsilon, method="sinkhorn", tol=1e-6, max_iter=2000)

    found = forward()
    there = timed(forward, *settings.timing)
    back = timed(lambda: torch.autograd.grad(found.cost, D, retain_graph=True), *settings.timing)
    ratio = back.median / there.median
    return {
        "n": n,
        "forward": there.record(),
        "backward": back.record(),
        "ratio": ratio,
        "goal": 0.8,
        "met": ratio <= 0.8,
    }


def checked_as(n: int) -> str:
    """The size of the checks that takes the road of a single float32 problem n x n on a card like the H100."""
    return "block" if n <= 224 else "cluster" if n <= 640 else "chip"


def tasks(settings: Settings) -> list[Task]:
    """Every row of the table of goals, as a task of the harness."""
    found: list[Task] = []

    def add(section: str, case: str, size: str, run: Callable[..., Record], *arguments: Any) -> None:
        def record(store: Store) -> Record:
            wrong = wrong_at(size, store)
            found = run(*arguments, settings)
            return found | {"failed_checks": wrong, "met": False} if wrong else found

        found.append(Task(f"{section}|{case}|wbm_ext", record))

    for n in settings.pick(tuple(PER_ITERATION)):
        add("iteration", f"n={n}", checked_as(n), per_iteration, n)
    for n in () if settings.quick else tuple(BANDWIDTH):
        add("bandwidth", f"n={n}", "streamed", bandwidth, n)
    add("batch", "1,024 problems of 64 x 64", "block", batch)
    for (n, m), relative, dtype in itertools.product(WBM_SHAPES, WBM, RESIDUAL):
        kind = str(dtype).removeprefix("torch.")
        size = "uneven" if n < 64 else "cluster"
        add("wbm", f"{n} x {m}, eps={relative:g}, {kind}", size, wbm, (n, m), relative, dtype)
    for n in settings.pick(BACKWARD):
        add("backward", f"n={n}", checked_as(n), backward, n)
    return found


UNITS = {
    "share": ("of the copy bandwidth", 1.0),
    "ratio": ("of the forward", 1.0),
    "seconds_per_iteration": ("µs an iteration", 1e6),
}


def line(key: str, record: Record) -> str:
    """One row of the table: what, the figure, the goal, whether it is met."""
    if "error" in record:
        return f"{key.replace('|', ', ')}: {record['error']}"
    shown = next((name for name in UNITS if name in record), None)
    unit, scale = UNITS[shown] if shown else ("µs", 1e6)
    figure = record[shown] if shown else record["seconds"]["median"]
    outcome = "met" if record["met"] else "not met"
    if wrong := record.get("failed_checks"):
        outcome += f" ({len(wrong)} checks of its size failed, first: {wrong[0]})"
    return f"{', '.join(key.split('|')[:2])}: {figure * scale:.3g} {unit}, goal {record['goal'] * scale:.3g}, {outcome}"
