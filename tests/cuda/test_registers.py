"""Whole solves in the registers of one block: every tile, run on the host in random orders, against the CPU's log domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import (
    BFLOAT16,
    CONVERGED,
    ENTROPY,
    FLOAT16,
    INF,
    KAPPAS,
    LIMIT,
    PRODUCT,
    REFUSALS,
    REFUSED,
    RESCALED,
    SINKHORN,
    STAGNATED,
    Case,
    make,
    same,
    with_16_bits,
    with_holes,
    with_mask,
    with_padding,
)
from kernel_regimes import REGISTERS, make_two
from kernel_shims import ForwardShim, solve_on_cpu

pytestmark = pytest.mark.native
# one warp; a block of 8, 12 and 8 warps
TILES = {"32": (19, 31), "64": (40, 64), "128": (70, 128), "192": (150, 129), "224": (200, 224)}


@pytest.fixture
def registers(shim: ForwardShim) -> Iterator[ForwardShim]:
    shim.device(132, 232448, 8, True, 65536)
    yield shim
    shim.device(3, 0, 1, False)


def single(**options: object) -> Case:
    return make_two(dtype=np.float32, **options)


def close(shim: ForwardShim, case: Case, tolerance: float = 3e-6, seed: int = 1) -> dict[str, np.ndarray]:
    """The CPU's status, potentials and costs; and the residual is that of the plan delivered."""
    assert shim.plan(case)[0] == REGISTERS
    expected, got = solve_on_cpu(case), shim.solve(case, seed)
    np.testing.assert_array_equal(got["status"], expected["status"])
    for name in ("f", "g", "sharp", "regularized", "mass"):
        np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(got["residual"], true_residual(case, got), rtol=1e-6, atol=1e-13)
    return got


def true_residual(case: Case, got: dict[str, np.ndarray]) -> np.ndarray:
    """Of the plan that f and g define, in float64."""
    cost = np.where(case.mask == 0, INF, case.cost) if case.mask is not None else case.cost
    epsilon = case.epsilon[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        plan = np.exp((got["f"][:, :, None] + got["g"][:, None, :] - cost.astype(np.float64)) / epsilon)
        totals = case.a.sum(1), case.b.sum(1)
        b = case.b * (totals[0] / totals[1])[:, None] if np.isinf(case.kappa).all() else case.b
        error = np.zeros(len(cost))
        for side, (mass, sums, potential) in enumerate(((case.a, plan.sum(2), got["f"]), (b, plan.sum(1), got["g"]))):
            kappa = case.kappa[:, side, None]
            shift = case.epsilon[:, None] * np.log(mass) if case.reference == PRODUCT else 0.0
            target = np.where(np.isinf(kappa), mass, mass * np.exp(-(potential - shift) / kappa))
            error += np.abs(sums - np.where(mass > 0, target, 0.0)).sum(1)
    return error / np.maximum(plan.sum((1, 2)), 0.5 * (totals[0] + b.sum(1)))


@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("kind", KAPPAS)
def test_every_kind_of_marginal(registers: ForwardShim, kind: str, reference: int) -> None:
    case = single(kappa=KAPPAS[kind], reference=reference)
    got = close(registers, case)
    assert (got["status"] == CONVERGED).all()
    tight = close(registers, replace(case, tol=1e-10, max_iter=400), 1e-9)  # float64 sums at the end
    assert (tight["residual"] <= 1e-10).all()


@pytest.mark.parametrize("tile", TILES)
def test_every_tile_with_holes_and_a_mask(registers: ForwardShim, tile: str) -> None:
    n, m = TILES[tile]
    for kind in ("balanced", "unbalanced"):
        case = with_mask(with_holes(single(n=n, m=m, kappa=KAPPAS[kind], reference=PRODUCT, seed=3)))
        got = close(registers, case)
        assert np.isneginf(got["f"][:, 1::7]).all()
        assert same(got, registers.solve(case, seed=2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (32, 33), (65, 3), (2, 200), (224, 1)])
def test_shapes(registers: ForwardShim, shape: tuple[int, int]) -> None:
    n, m = shape
    for kappa in ((INF, INF), (0.5, 0.7)):
        close(registers, single(n=n, m=m, kappa=kappa, max_iter=100))


def test_rows_and_problems_apart(registers: ForwardShim) -> None:
    case = single(kappa=KAPPAS["soft_rows"], seed=5)
    dense, apart = (
        close(registers, replace(case, mask=np.ones(case.shape, np.uint8))),
        close(registers, with_padding(case)),
    )
    assert same(dense, apart)
    shared = np.broadcast_to(case.cost[:1], case.shape)
    close(registers, replace(case, cost=shared))


@pytest.mark.parametrize("bits16", [FLOAT16, BFLOAT16])
def test_16_bits_have_the_bits_of_float32(registers: ForwardShim, bits16: int) -> None:
    for case in (single(kappa=KAPPAS["unbalanced"]), with_padding(with_mask(single(n=66, m=70, max_iter=20)))):
        short = with_16_bits(case, bits16)
        assert same(close(registers, short), registers.solve(replace(short, short=None, bits16=0)))


@pytest.mark.parametrize("method", [SINKHORN, 1])
@pytest.mark.parametrize("count", [0, 1, 2, 9, 17])
def test_a_fixed_number_of_iterations(registers: ForwardShim, method: int, count: int) -> None:
    for kappa in ((0.9, INF), (INF, INF)):
        case = single(kappa=kappa, method=method, tol=0.0, max_iter=count)
        assert (close(registers, case, 1e-6)["iterations"] == count).all()


@pytest.mark.parametrize("tile", ["64", "128"])
def test_scalings_that_leave_their_range(registers: ForwardShim, tile: str) -> None:
    """Sharp plans, and costs far from 0: the potentials take the scalings in, again and again."""
    n, m = TILES[tile]
    case = single(n=n, m=m, epsilon=0.002, tol=0.0, max_iter=25, seed=8)
    close(registers, case, 1e-5)
    far = (case.cost * 3 + np.linspace(-9, 9, m)).astype(np.float32)
    close(registers, replace(case, cost=far), 1e-5)
    close(registers, replace(case, cost=far, kappa=np.full((2, 2), 0.7)), 1e-5)


def test_transport_too_dear_for_float32(registers: ForwardShim) -> None:
    """Plans of e^-25 and e^-130 of the masses: K is divided by the plan's mass."""
    case = single(kappa=(0.5, 0.6), tol=0.0, max_iter=12)
    far = replace(case, cost=(case.cost + np.array([30.0, 150.0])[:, None, None]).astype(np.float32))
    got = registers.solve(far)
    assert 0.0 < got["mass"][1] < 1e-40
    np.testing.assert_allclose(got["mass"], solve_on_cpu(far)["mass"], rtol=1e-4)


@pytest.mark.parametrize("least", [1e-12, 1e-40])
def test_masses_over_many_decades(registers: ForwardShim, least: float) -> None:
    """Far lines keep their potentials; where float32 has no room for a line, the sums are float64."""
    for kappa in ((INF, INF), (1.0, 1.0)):
        case = single(kappa=kappa)
        a = case.a * np.geomspace(least, 1.0, case.a.shape[1])
        a *= case.a.sum(1, keepdims=True) / a.sum(1, keepdims=True)
        close(registers, replace(case, a=a, max_iter=1000), 2e-5)
        close(registers, replace(case, a=1e-30 * a, b=1e-30 * case.b, max_iter=1000), 2e-5)


def test_the_plan_that_the_columns_alone_fit_is_not_an_answer(registers: ForwardShim) -> None:
    """Rows 1.2 off, columns exact: nothing stops there."""
    cost = np.array([[[0.4, 0.9, 0.5], [0.1, 3.9, 0.4], [0.1, 0.1, 0.2]]], np.float32)
    a, b = np.array([[0.03, 0.47, 0.5]]), np.array([[0.00001, 0.99975, 0.00024]])
    case = Case(cost, a, b, np.array([0.003]), np.full((1, 2), INF), max_iter=2000)
    got = registers.solve(case)
    assert got["status"] == CONVERGED
    assert true_residual(case, got) <= 1e-6
    np.testing.assert_allclose(got["sharp"], 1.909, rtol=1e-3)


def test_problems_stop_separately(registers: ForwardShim) -> None:
    case = replace(single(), epsilon=np.array([0.5, 0.02]), max_iter=40)
    got = close(registers, case, 1e-5)
    np.testing.assert_array_equal(got["status"], [CONVERGED, LIMIT])
    assert got["iterations"][0] < got["iterations"][1] == 40


@pytest.mark.parametrize("tile", ["64", "128"])
def test_warm_start(registers: ForwardShim, tile: str) -> None:
    n, m = TILES[tile]
    case = single(n=n, m=m, kappa=(0.8, 0.9))
    first = registers.solve(replace(case, tol=1e-9))
    again = registers.solve(replace(case, init_g=first["g"].copy()))
    assert (again["iterations"] == 1).all()
    assert (again["status"] == CONVERGED).all()


def test_stagnation_and_nothing_to_transport(registers: ForwardShim) -> None:
    got = registers.solve(single(epsilon=0.3, tol=1e-30, max_iter=400))
    assert (got["status"] == STAGNATED).all()
    assert (got["residual"] < 1e-13).all()
    case = single(kappa=(1.0, 1.0), max_iter=5)
    nothing = replace(case, cost=np.full_like(case.cost, INF)), replace(case, a=0 * case.a, b=0 * case.b)
    for empty in nothing:
        got, expected = registers.solve(empty), solve_on_cpu(empty)
        for name in got:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-14)


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused_problem_leaves_its_neighbours_alone(registers: ForwardShim, reason: str) -> None:
    bits, spoil = REFUSALS[reason]
    case = spoil(make(batch=3, tol=1e-4, dtype=np.float32))
    got, expected = registers.solve(case), solve_on_cpu(case)
    np.testing.assert_array_equal(got["status"], expected["status"])
    assert got["status"][1] & REFUSED == bits
    assert np.isnan(got["f"][1]).all()
    assert np.isnan(got["g"][1]).all()
    assert np.isnan([got[name][1] for name in ("sharp", "regularized", "mass", "residual")]).all()
    assert got["iterations"][1] == 0


def test_rescaled_masses(registers: ForwardShim) -> None:
    case = make(dtype=np.float32)
    got = close(registers, replace(case, b=case.b * np.array([[1.0], [1.0005], [1.0 + 1e-9]])))
    np.testing.assert_array_equal(got["status"] & RESCALED, [0, RESCALED, 0])


@pytest.mark.parametrize("tile", TILES)
def test_no_schedule_changes_a_bit(registers: ForwardShim, tile: str) -> None:
    n, m = TILES[tile]
    case = with_holes(single(n=n, m=m, kappa=(0.9, 1.3), epsilon=0.02, tol=1e-7, max_iter=40))
    first = registers.solve(case, seed=1)
    for seed in range(2, 5):
        assert same(first, registers.solve(case, seed))
