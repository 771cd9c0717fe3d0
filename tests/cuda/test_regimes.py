"""Whole solves in one launch (a block, a cluster or the grid a problem), run on the host in random orders.

A small device makes small problems take each path; what comes out is compared with the CPU solver's log domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import (
    CONVERGED,
    ENTROPY,
    INF,
    KAPPAS,
    LIMIT,
    MARGINAL,
    OVERFLOW,
    PRODUCT,
    REFUSALS,
    REFUSED,
    SCALING,
    SINKHORN,
    STAGNATED,
    Case,
    make,
    put,
    same,
    with_holes,
    with_mask,
    with_padding,
)
from kernel_regimes import BLOCK, CLUSTER, GRID, LAUNCHES, PATHS, Devices, make_two
from kernel_shims import ForwardShim, solve_on_cpu

pytestmark = pytest.mark.native
TOTALS = ("sharp", "regularized", "mass", "residual")


@pytest.fixture
def devices(shim: ForwardShim) -> Iterator[Devices]:
    yield Devices(shim)
    shim.device(3, 0, 1, False)


def close(case: Case, got: dict[str, np.ndarray], tolerance: float) -> None:
    """Potentials and costs of the log domain within `tolerance`, and a residual that is that of the plan delivered."""
    expected = solve_on_cpu(case)
    np.testing.assert_array_equal(got["status"], expected["status"])
    for name in ("f", "g", "sharp", "regularized", "mass"):
        np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("balanced", ENTROPY), ("soft_rows", PRODUCT), ("soft_columns", ENTROPY), ("unbalanced", PRODUCT)],
)
@pytest.mark.parametrize("path", PATHS)
def test_every_kind_of_marginal(devices: Devices, path: str, kind: str, reference: int) -> None:
    case = make_two(kappa=KAPPAS[kind], reference=reference)
    assert (devices.check(case, path)["status"] == CONVERGED).all()
    single = replace(case, cost=case.cost.astype(np.float32))
    close(single, devices.solve(single, path), 3e-6)
    tight = replace(single, tol=1e-10, max_iter=400)
    got = devices.check(tight, path, iterations=False)
    assert (got["residual"] <= 1e-10).all()


@pytest.mark.parametrize("kind", ["balanced", "unbalanced"])
@pytest.mark.parametrize("path", PATHS)
def test_holes_masks_and_padding(devices: Devices, path: str, kind: str) -> None:
    case = with_mask(with_holes(make_two(kappa=KAPPAS[kind], reference=PRODUCT, seed=3)))
    got = devices.check(case, path)
    assert np.isneginf(got["f"][:, 1::7]).all()
    single = replace(case, cost=case.cost.astype(np.float32))
    close(single, devices.solve(single, path), 3e-6)
    padded = make_two(kappa=KAPPAS[kind], seed=5, dtype=np.float32)
    dense = devices.solve(replace(padded, mask=np.ones(padded.shape, np.uint8)), path)
    apart = devices.solve(with_padding(padded), path)
    for name in dense:
        np.testing.assert_array_equal(dense[name], apart[name])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (33, 32), (8, 9), (3, 300), (4, 530), (2, 8300)])
def test_shapes(devices: Devices, shape: tuple[int, int], dtype: type) -> None:
    """Rows in a warp's registers (up to 256 columns at least), in a block's (up to 4,096 at least), and longer ones."""
    n, m = shape
    for kappa in ((INF, INF), (0.5, 0.7)):
        case = make_two(n=n, m=m, kappa=kappa, dtype=dtype, max_iter=2 if m > 100 else 100)
        for path in ("block", "block_streamed", *(["grid", "cluster"] if 4 <= n < 40 else [])):
            got = devices.solve(case, path)
            close(case, got, 1e-10 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
@pytest.mark.parametrize("path", ["block_streamed", "two_groups"])
def test_long_rows_are_kept_in_shared_memory(devices: Devices, path: str, kept: int) -> None:
    """So many rows at a time (3: two); sums in float64 find room for half of them beside a float32 cost, or for none."""
    for kind in ("balanced", "unbalanced"):
        case = with_mask(with_holes(make_two(kappa=KAPPAS[kind], reference=PRODUCT, seed=3)))
        assert (devices.check(case, path, kept=kept)["status"] == CONVERGED).all()
        single = replace(case, cost=case.cost.astype(np.float32))
        got = devices.solve(single, path, kept=kept)
        close(single, got, 3e-6)
        for seed in (2, 3):
            assert same(got, devices.solve(single, path, seed, kept=kept))
    wide = make_two(n=18, m=300, dtype=np.float32, max_iter=3, tol=0.0)  # several columns a thread with 1 and 2 rows
    close(wide, devices.solve(wide, path, kept=kept), 1e-5)


@pytest.mark.parametrize("method", [SINKHORN, 1])
@pytest.mark.parametrize("path", PATHS)
def test_a_fixed_number_of_iterations(devices: Devices, path: str, method: int) -> None:
    case = make_two(kappa=(0.9, INF), method=method, tol=0.0, max_iter=9)
    got = devices.check(case, path)
    assert (got["iterations"] == 9).all()
    single = replace(case, cost=case.cost.astype(np.float32))
    got = devices.solve(single, path)
    close(single, got, 1e-6)
    assert (got["iterations"] == 9).all()
    assert (devices.check(replace(case, max_iter=0), path)["iterations"] == 0).all()


@pytest.mark.parametrize("kind", KAPPAS)
@pytest.mark.parametrize("path", PATHS)
def test_scaling_criterion(devices: Devices, path: str, kind: str) -> None:
    """The iteration that ends a solve is the log domain's, whatever the sums before it were."""
    case = with_holes(make_two(kappa=KAPPAS[kind], criterion=SCALING, tol=1e-7, epsilon=0.3))
    assert (devices.check(case, path)["status"] == CONVERGED).all()
    single = replace(case, cost=case.cost.astype(np.float32))
    got, expected = devices.solve(single, path), solve_on_cpu(single)
    close(single, got, 3e-6)
    np.testing.assert_array_equal(got["iterations"], expected["iterations"])
    for seed in (2, 3):
        assert same(got, devices.solve(single, path, seed))


@pytest.mark.parametrize("path", PATHS)
def test_scalings_that_overflow_do_not_end_a_solve(devices: Devices, path: str) -> None:
    case = make_two(kappa=(0.9, INF), criterion=SCALING, method=SINKHORN, tol=1e-3, max_iter=4)
    far = replace(case, cost=case.cost + 1e4)
    got = devices.check(far, path)
    assert (got["status"] == LIMIT).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("criterion", "tol"), [(MARGINAL, 0.0), (MARGINAL, 1e-4), (SCALING, 1e-5)])
@pytest.mark.parametrize("path", PATHS)
def test_recorded_iterations(devices: Devices, path: str, criterion: int, tol: float, dtype: type) -> None:
    """Float64 sums whatever D is: what is differentiated is the log domain's."""
    for kappa, epsilon in (((INF, INF), 0.15), ((0.9, 1.3), 0.15), ((0.9, 1.3), 0.01)):
        case = make_two(kappa=kappa, epsilon=epsilon, criterion=criterion, tol=tol, max_iter=12, dtype=dtype)
        case = with_mask(with_holes(replace(case, history=True)))
        got, expected = devices.check(case, path), solve_on_cpu(case)
        for p, count in enumerate(got["iterations"]):
            kept = slice(0, count + 1)
            np.testing.assert_allclose(got["history"][p, kept], expected["history"][p, kept], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("path", PATHS)
def test_scalings_that_leave_their_range(devices: Devices, path: str, dtype: type) -> None:
    """Sharp plans and costs far from 0: the iterations fall back on the log domain, and come back from it."""
    case = make_two(epsilon=0.004, dtype=dtype, tol=0.0, max_iter=25, seed=8)
    close(case, devices.solve(case, path), 1e-5)
    far = replace(case, cost=(case.cost * 3 + np.linspace(-9, 9, 40)).astype(dtype))
    close(far, devices.solve(far, path), 1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("path", ["block", "block_streamed", "grid"])
def test_transport_too_dear_for_float32(devices: Devices, path: str, dtype: type) -> None:
    """Plans of e^-25 and e^-130 of the masses: float32 entries of the kernel matrix would be lost."""
    case = make_two(kappa=(0.5, 0.6), dtype=dtype, tol=0.0, max_iter=12)
    far = replace(case, cost=(case.cost + np.array([30.0, 150.0])[:, None, None]).astype(dtype))
    got = devices.solve(far, path)
    assert got["mass"][0] < 1e-8
    assert 0.0 < got["mass"][1] < 1e-40
    np.testing.assert_allclose(got["mass"], solve_on_cpu(far)["mass"], rtol=1e-4)
    np.testing.assert_allclose(got["f"], solve_on_cpu(far)["f"], rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_problems_stop_separately(devices: Devices, path: str) -> None:
    case = make_two(dtype=np.float32)
    case = replace(case, epsilon=np.array([0.5, 0.02]), max_iter=40)
    got = devices.solve(case, path)
    np.testing.assert_array_equal(got["status"], [CONVERGED, LIMIT])
    assert got["iterations"][0] < got["iterations"][1] == 40


@pytest.mark.parametrize("path", PATHS)
def test_warm_start(devices: Devices, path: str) -> None:
    case = make_two(kappa=(0.8, 0.9), tol=1e-6, dtype=np.float32)
    first = devices.solve(replace(case, tol=1e-9), path)
    again = devices.solve(replace(case, init_g=first["g"].copy()), path)
    assert (again["iterations"] == 1).all()
    assert (again["status"] == CONVERGED).all()


@pytest.mark.parametrize("path", ["block", "grid"])
def test_stagnation_overflow_and_nothing_to_transport(devices: Devices, path: str) -> None:
    for dtype in (np.float64, np.float32):
        got = devices.solve(make_two(epsilon=0.3, tol=1e-30, max_iter=400, dtype=dtype), path)
        assert (got["status"] == STAGNATED).all()
        assert (got["iterations"] < 400).all()
        assert (got["residual"] < 1e-13).all()
    case = make_two(kappa=(1.0, 1.0), max_iter=5)
    huge = np.where(case.cost < 0.5, -1.5e308, 1.5e308)
    got = devices.solve(replace(case, cost=put(case.cost, 0, huge[0])), path)
    np.testing.assert_array_equal(got["status"], [OVERFLOW | LIMIT, LIMIT])
    got = devices.check(replace(case, cost=np.full_like(case.cost, INF)), path)
    np.testing.assert_array_equal(got["mass"], 0.0)
    got = devices.check(replace(case, a=np.zeros_like(case.a), b=np.zeros_like(case.b)), path)
    np.testing.assert_array_equal(got["residual"], 0.0)


@pytest.mark.parametrize("path", ["block", "cluster", "grid"])
def test_refused_problem_leaves_its_neighbour_alone(devices: Devices, path: str) -> None:
    bits, spoil = REFUSALS["several"]
    case = make(batch=3, tol=1e-4)
    one = spoil(case)
    pair = replace(one, **{name: getattr(one, name)[1:].copy() for name in ("cost", "a", "b", "epsilon", "kappa")})
    got = devices.check(pair, path)
    assert got["status"][0] & REFUSED == bits
    assert np.isnan([got[name][0] for name in TOTALS]).all()
    assert got["status"][1] == CONVERGED


def demanding(dtype: type) -> Case:
    """Tests, translations, float32 sums that are refined, and scalings that leave their range."""
    return with_mask(
        with_holes(make_two(n=36, m=40, kappa=(0.9, 1.3), epsilon=0.05, dtype=dtype, tol=1e-6, max_iter=30))
    )


@pytest.mark.parametrize("path", PATHS)
def test_no_schedule_changes_a_bit(devices: Devices, path: str) -> None:
    for case in (demanding(np.float32), demanding(np.float64), make_two(epsilon=0.004, max_iter=12, dtype=np.float32)):
        first = devices.solve(case, path, seed=1)
        for seed in range(2, 4):
            assert same(first, devices.solve(case, path, seed))


H100 = (132, 232448, 8, True)
T4 = (40, 65536, 1, True)


@pytest.mark.parametrize(
    ("limits", "batch", "side", "dtype", "regime", "blocks", "stored"),
    [
        (H100, 1024, 64, np.float32, BLOCK, 1, True),
        (H100, 1, 224, np.float32, BLOCK, 1, True),
        (H100, 1, 128, np.float64, BLOCK, 1, True),
        (H100, 1, 256, np.float32, CLUSTER, 2, True),
        (H100, 64, 512, np.float32, CLUSTER, 8, True),
        (H100, 1, 1024, np.float32, GRID, 132, True),
        (H100, 4, 1024, np.float32, GRID, 33, True),
        (H100, 1, 2048, np.float32, GRID, 132, True),
        (H100, 1, 4096, np.float32, GRID, 132, False),
        (H100, 256, 1024, np.float32, BLOCK, 1, False),
        (T4, 1, 64, np.float32, BLOCK, 1, True),
        (T4, 1, 256, np.float32, GRID, 40, True),
        (T4, 100, 256, np.float32, BLOCK, 1, False),
    ],
)
def test_the_table_of_regimes(devices: Devices, limits: tuple, batch: int, side: int, dtype: type, regime: int,
                              blocks: int, stored: bool) -> None:  # fmt: skip
    cost = np.broadcast_to(np.zeros((1, 1, side), dtype), (batch, side, side))
    case = Case(cost, *(np.ones(1) for _ in range(4)))
    devices.shim.device(*limits)
    plan = devices.shim.plan(case)
    assert (plan[0], plan[1], bool(plan[5])) == (regime, blocks, stored)
    assert plan[1] * plan[4] >= side
    assert regime != GRID or plan[1] * plan[2] <= limits[0]
    devices.shim.device(1, 0, 1, False)
    assert devices.shim.plan(case)[0] == LAUNCHES


@pytest.mark.parametrize(
    ("side", "dtype", "kept"),
    [(8192, np.float32, 4), (16384, np.float32, 2), (8192, np.float64, 2), (16384, np.float64, 0)],
)
def test_what_a_device_keeps_of_long_rows(devices: Devices, side: int, dtype: type, kept: int) -> None:
    case = Case(np.broadcast_to(np.zeros((1, 1, side), dtype), (1, side, side)), *(np.ones(1) for _ in range(4)))
    devices.shim.device(*H100)
    plan = devices.shim.plan(case)
    assert (plan[0], plan[1], bool(plan[5])) == (GRID, 132, False)
    assert plan[6] // (side * case.cost.itemsize) - 1 == kept
