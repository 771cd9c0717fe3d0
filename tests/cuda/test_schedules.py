"""The scheduler that stands in for the device does its work: orders, barriers and faults show."""

from __future__ import annotations

import numpy as np
import pytest

from kernel_cases import SCALING, Case, make, same, with_holes, with_mask
from kernel_shims import ForwardShim

pytestmark = pytest.mark.native


def demanding() -> Case:
    """Passes every barrier: several warps a block, tests, translations."""
    return with_mask(with_holes(make(batch=3, n=36, m=40, kappa=(0.9, 1.3), max_iter=6, tol=1e-12, history=True)))


def test_no_schedule_changes_a_bit(shim: ForwardShim) -> None:
    for case in (demanding(), make(batch=2, criterion=SCALING, tol=1e-3), make(batch=2, n=9, m=9, tol=1e-30)):
        first = shim.solve(case, seed=1)
        for seed in range(2, 6):
            assert same(first, shim.solve(case, seed))


def test_every_barrier_is_needed(shim: ForwardShim) -> None:
    """Each barrier of the kernels, left out, changes results or stops the run: the schedules do their work.

    ``block_any`` is not among them: its barrier carries its value.
    """
    case = demanding()
    found: list[dict[str, np.ndarray]] = []
    barriers = shim.barriers(lambda: found.append(shim.solve(case)))
    (sound,) = found
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
def test_a_fault_stops_the_run(shim: ForwardShim, fault: str, message: str) -> None:
    error, _ = shim.faulty(fault, seed=1)
    assert error is not None
    assert message in error
    assert shim.faulty("sound", seed=2) == (None, [2016.0] * 4)


def test_a_race_shows_between_seeds(shim: ForwardShim) -> None:
    assert len({tuple(shim.faulty("no_barrier", seed)[1]) for seed in range(8)}) > 1
    assert np.isnan(shim.faulty("not_initialised", seed=1)[1]).all()
