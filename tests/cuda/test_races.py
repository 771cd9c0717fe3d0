"""No two threads of the kernels touch the same byte without a barrier between them, and no byte is read that nobody wrote.

Every load and store of a run on the host is seen (``host/races.h``), in every regime, forward and backward. Each barrier left
out in turn is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import INF, KAPPAS, PRODUCT, SCALING, Case, make, same, with_holes, with_mask
from kernel_regimes import FROZEN, IMPLICIT, LARGE, SMALL, UNROLLED, WIDE, Devices, make_two, problem, solved
from kernel_shims import BackwardShim, ForwardShim, compiled_watched

pytestmark = [pytest.mark.native, pytest.mark.slow]
Printed = Callable[[str, object], None]


@pytest.fixture(scope="module")
def watched() -> Devices:
    kernels = ("solve/forward", "solve/forward_of_type", "solve/registers")
    return Devices(ForwardShim(compiled_watched(kernels, ("forward", "faulty"), "-DWBM_HELD_COLUMNS=24")))


@pytest.fixture(scope="module")
def watched_backward() -> BackwardShim:
    shim = BackwardShim(compiled_watched(("gradient/backward",), ("backward",), "-DWBM_SYSTEM_BLOCK_SIDE=24"))
    shim.multiprocessors(6)
    return shim


def in_registers(devices: Devices, case: Case, seed: int = 1, dropped: str = "") -> dict[str, np.ndarray]:
    devices.shim.device(132, 232448, 8, True, 65536)
    return devices.shim.solve(case, seed, dropped)


def solve(devices: Devices, case: Case, path: str, seed: int = 1, dropped: str = "") -> dict[str, np.ndarray]:
    if path == "registers":
        return in_registers(devices, case, seed, dropped)
    if path == "launches":
        devices.shim.device(3, 0, 1, False)
        return devices.shim.solve(case, seed, dropped)
    return devices.solve(case, path, seed, dropped)


# 8 x 9 leaves out whole warps; sharp problems leave the range of the scalings; tight ones end with float64 sums.
SHARP = {"epsilon": 0.004, "max_iter": 12, "tol": 1e-4}
CASES: tuple[tuple[str, Case], ...] = (
    *((path, with_mask(with_holes(make_two(n=8, m=40, kappa=KAPPAS["unbalanced"], reference=PRODUCT, dtype=dtype, max_iter=8))))
      for path in ("block", "block_streamed", "cluster", "grid", "two_groups", "launches") for dtype in (np.float32, np.float64)),
    *((path, make_two(n=8, m=9, dtype=np.float32, **SHARP)) for path in ("block", "cluster", "grid", "registers")),
    *((path, make_two(n=8, m=9, dtype=np.float32, epsilon=0.3, criterion=SCALING, tol=1e-5, max_iter=20))
      for path in ("block", "grid", "launches")),
    *(("registers", with_holes(make_two(n=n, m=m, kappa=kappa, dtype=np.float32, tol=1e-9, max_iter=14)))
      for n, m in ((19, 31), (40, 64), (70, 128)) for kappa in ((INF, INF), (0.9, 1.3))),
    ("registers", make(batch=1, n=150, m=190, dtype=np.float32, max_iter=10)),
    ("registers", make(batch=1, n=210, m=220, kappa=(0.5, 0.7), dtype=np.float32, max_iter=10)),
)  # fmt: skip


def test_no_solve_has_a_race(watched: Devices, record_property: Printed) -> None:
    total = 0
    for path, case in CASES:
        solve(watched, case, path)  # a race is an error
        total += watched.shim.accesses()
    assert total > 1_000_000
    record_property("printed", f"{len(CASES)} batches solved, {total} accesses to shared and device memory: no race")


def test_no_gradient_has_a_race(watched_backward: BackwardShim, record_property: Printed) -> None:
    total = 0
    for size in (SMALL, LARGE, WIDE):
        for mode in (IMPLICIT, UNROLLED, FROZEN):
            options = {"max_iter": 4, "tol": 0.0} if mode == UNROLLED else {}
            work = solved(with_holes(problem(size, "unbalanced", reference=PRODUCT, dtype=np.float32, **options)), mode)
            watched_backward.differentiate(work)
            total += watched_backward.accesses()
    assert total > 1_000_000
    record_property("printed", f"9 batches differentiated, {total} accesses to shared and device memory: no race")


def caught(run: Callable[[], dict[str, np.ndarray]], sound: dict[str, np.ndarray]) -> bool:
    """By a race, by another error, or by another answer."""
    try:
        return not same(sound, run())
    except (RuntimeError, AssertionError):
        return True


def test_every_barrier_left_out_is_found(watched: Devices, record_property: Printed) -> None:
    """Those of the kernels in registers, of opening and report, and of the other regimes; the smallest cases come first."""
    small = make_two(n=8, m=9, epsilon=0.3, dtype=np.float32)
    more = (
        ("cluster", replace(small, max_iter=1)),
        ("grid", replace(small, epsilon=np.full(2, 0.004), tol=1e-4, max_iter=60)),
        ("grid", replace(small, tol=1e-30, max_iter=60)),
        ("block", make_two(n=8, m=200, epsilon=0.1, max_iter=5, dtype=np.float32)),
        ("block", make(batch=1, n=34, m=520, epsilon=0.1, max_iter=3, dtype=np.float32)),
        ("registers", make_two(n=33, m=70, kappa=(0.8, 0.9), epsilon=0.05, dtype=np.float32, tol=1e-9, max_iter=30)),
    )
    sound: list[tuple[str, Case, list[str], dict[str, np.ndarray]]] = []
    for path, case in sorted((*CASES, *more), key=lambda case: case[1].cost.size * case[1].max_iter):
        answers: list[dict[str, np.ndarray]] = []
        passed = watched.shim.barriers(
            lambda path=path, case=case, answers=answers: answers.append(solve(watched, case, path))  # type: ignore[misc]
        )
        sound.append((path, case, passed, answers[0]))
    barriers = sorted({barrier for _, _, passed, _ in sound for barrier in passed})

    def found(barrier: str) -> bool:
        return any(
            caught(lambda: solve(watched, case, path, seed, barrier), answer)  # noqa: B023
            for seed in (1, 2)
            for path, case, passed, answer in sound
            if barrier in passed
        )

    missed = [barrier for barrier in barriers if not found(barrier)]
    record_property("printed", f"{len(barriers)} barriers left out one at a time, missed: {missed or 'none'}")
    assert len(barriers) >= 30
    assert missed == []
