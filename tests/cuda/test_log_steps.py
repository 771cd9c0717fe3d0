"""The CUDA kernels run on the host, thread by thread in random orders, against the compiled CPU solver.

Here every step of an iteration is a launch of its own; ``test_regimes.py`` has whole solves in one launch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import (
    ACCELERATED,
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
    RESCALED,
    SCALING,
    SINKHORN,
    STAGNATED,
    make,
    put,
    with_holes,
    with_mask,
    with_padding,
)
from kernel_shims import ForwardShim, check, solve_on_cpu

pytestmark = pytest.mark.native


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("kind", KAPPAS)
def test_every_kind_of_marginal(shim: ForwardShim, kind: str, reference: int, dtype: type) -> None:
    case = make(kappa=KAPPAS[kind], reference=reference, dtype=dtype)
    assert (check(shim, case)["status"] == CONVERGED).all()


@pytest.mark.parametrize("kind", KAPPAS)
def test_holes_masks_and_padding(shim: ForwardShim, kind: str) -> None:
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
def test_shapes(shim: ForwardShim, n: int, m: int) -> None:
    check(shim, make(batch=2, n=n, m=m))
    check(shim, make(batch=2, n=n, m=m, kappa=(0.5, 0.7)))


def test_more_columns_than_threads_of_a_row(shim: ForwardShim) -> None:
    check(shim, make(batch=1, n=3, m=150, max_iter=5, tol=0.0))
    check(shim, make(batch=1, n=150, m=3, max_iter=5, tol=0.0))


def test_more_rows_than_threads_of_a_problem(shim: ForwardShim) -> None:
    check(shim, make(batch=1, n=530, m=2, max_iter=3, kappa=(0.5, 0.7)))
    check(shim, make(batch=1, n=2, m=530, max_iter=3, kappa=(0.5, 0.7)))


def test_expanded_batch(shim: ForwardShim) -> None:
    case = make(batch=5)
    shared = np.broadcast_to(case.cost[:1], case.shape)
    mask = np.broadcast_to(with_mask(case).mask[:1], case.shape)
    check(shim, replace(case, cost=shared, mask=mask))
    check(shim, replace(case, cost=np.broadcast_to(case.cost[:, :1], case.shape)))


def test_empty_batch(shim: ForwardShim) -> None:
    assert shim.solve(make(batch=0))["f"].shape == (0, 19)


def test_warm_start(shim: ForwardShim) -> None:
    case = make(kappa=(0.8, 0.9), tol=1e-9)
    first = check(shim, case)
    again = check(shim, replace(case, init_g=first["g"].copy()))
    assert (again["iterations"] == 1).all()
    start = np.random.default_rng(0).normal(size=case.b.shape)
    start[:, 3] = -INF  # a column that had no mass in an earlier solve
    check(shim, replace(case, init_g=start))


@pytest.mark.parametrize("method", [SINKHORN, ACCELERATED])
@pytest.mark.parametrize("kind", KAPPAS)
def test_fixed_iterations_and_history(shim: ForwardShim, kind: str, method: int) -> None:
    case = with_holes(make(kappa=KAPPAS[kind], method=method, tol=0.0, max_iter=7, history=True))
    got, expected = check(shim, case), solve_on_cpu(case)
    assert (got["iterations"] == 7).all()
    assert (got["status"] & LIMIT).all()
    np.testing.assert_allclose(got["history"], expected["history"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("criterion", "tol"), [(MARGINAL, 1e-3), (SCALING, 1e-5)])
def test_history_of_problems_that_stop(shim: ForwardShim, criterion: int, tol: float) -> None:
    case = make(kappa=(0.8, 0.9), criterion=criterion, tol=tol, max_iter=60, history=True)
    got, expected = check(shim, case), solve_on_cpu(case)
    assert (got["status"] == CONVERGED).all()
    for p, count in enumerate(got["iterations"]):
        np.testing.assert_allclose(
            got["history"][p, : count + 1], expected["history"][p, : count + 1], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("kind", KAPPAS)
def test_scaling_criterion(shim: ForwardShim, kind: str) -> None:
    case = make(kappa=KAPPAS[kind], criterion=SCALING, tol=1e-7, epsilon=0.3)
    assert (check(shim, case)["status"] == CONVERGED).all()


def test_problems_stop_separately(shim: ForwardShim) -> None:
    case = make(batch=5)
    case = replace(case, epsilon=np.array([0.5, 0.02, 0.2, 0.1, 0.05]), max_iter=40)
    got = check(shim, case)
    assert len(set(got["iterations"])) > 2
    assert got["status"][0] == CONVERGED
    assert got["status"][1] == LIMIT


def test_stagnation(shim: ForwardShim) -> None:
    # The count depends on the last bit of every sum, hence is not compared.
    got = check(shim, make(batch=2, n=9, m=9, epsilon=0.3, tol=1e-30, max_iter=400), iterations=False)
    assert (got["status"] == STAGNATED).all()
    assert (got["iterations"] < 400).all()


def test_overflow_is_reported(shim: ForwardShim) -> None:
    case = make(batch=2, n=9, m=9, kappa=(1.0, 1.0), max_iter=5)
    huge = np.where(case.cost < 0.5, -1.5e308, 1.5e308)
    got = check(shim, replace(case, cost=put(case.cost, 0, huge[0])))
    np.testing.assert_array_equal(got["status"], [OVERFLOW | LIMIT, LIMIT])


def test_rescaled_masses(shim: ForwardShim) -> None:
    case = make()
    got = check(shim, replace(case, b=case.b * np.array([[1.0], [1.0005], [1.0 + 1e-9]])))
    np.testing.assert_array_equal(got["status"] & RESCALED, [0, RESCALED, 0])


def test_nothing_to_transport(shim: ForwardShim) -> None:
    case = make(kappa=(0.5, 0.7))
    got = check(shim, replace(case, cost=np.full_like(case.cost, INF)))
    np.testing.assert_array_equal(got["mass"], 0.0)
    got = check(shim, replace(case, a=np.zeros_like(case.a), b=np.zeros_like(case.b)))
    np.testing.assert_array_equal(got["residual"], 0.0)


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused_problem_leaves_its_neighbours_alone(shim: ForwardShim, reason: str) -> None:
    bits, spoil = REFUSALS[reason]
    got = check(shim, spoil(make(tol=1e-4)))
    assert got["status"][1] & REFUSED == bits
    assert np.isnan(got["f"][1]).all()
    assert np.isnan(got["g"][1]).all()
    assert np.isnan([got[name][1] for name in ("sharp", "regularized", "mass", "residual")]).all()
    assert got["iterations"][1] == 0
    assert (got["status"][[0, 2]] == CONVERGED).all()
