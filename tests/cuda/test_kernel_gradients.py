"""The CUDA gradients run on the host, thread by thread in random orders, against the compiled CPU solver's.

One block solves the linear system of a problem with sides up to 24 here (256 on a device); six multiprocessors are shared
among larger ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import (
    ENTROPY,
    INF,
    KAPPAS,
    NAN,
    PRODUCT,
    SINKHORN,
    Case,
    make,
    put,
    same,
    with_holes,
    with_mask,
    with_padding,
)
from kernel_regimes import FROZEN, IMPLICIT, LARGE, SMALL, UNROLLED, WIDE, problem, solved
from kernel_shims import GRADIENTS, Backward, BackwardShim, differentiate_on_cpu

pytestmark = pytest.mark.native
MODES = {"implicit": IMPLICIT, "frozen": FROZEN, "unrolled": UNROLLED}
CHIP = 6  # multiprocessors


def check(
    backward_shim: BackwardShim, work: Backward, seed: int = 1, faithful: float | None = None
) -> dict[str, np.ndarray]:
    """Equal to the CPU's within the rounding of D's type; ``faithful``: the residual of the system (default: by type)."""
    expected, got = differentiate_on_cpu(work), backward_shim.differentiate(work, seed)
    single = work.case.cost.dtype == np.float32
    limit = (3e-9 if single else 1e-12) if faithful is None else faithful
    for name in GRADIENTS[: 3 if work.wants_cost else 0] or GRADIENTS[1:3]:
        scale = np.nanmax(np.abs(expected[name]), initial=0.0)
        rounding = 1e-6 if single else 1e-9
        np.testing.assert_allclose(got[name], expected[name], rtol=rounding, atol=rounding * scale, err_msg=name)
    known = ~np.isnan(expected["residual"])
    np.testing.assert_array_equal(np.isnan(got["residual"]), ~known)
    assert (got["residual"][known] <= limit).all()
    return got


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("kind", KAPPAS)
@pytest.mark.parametrize("size", [SMALL, LARGE, WIDE])
def test_implicit(backward_shim: BackwardShim, size: tuple[int, int], kind: str, reference: int, dtype: type) -> None:
    case = with_holes(problem(size, kind, reference=reference, dtype=dtype))
    check(backward_shim, solved(case, IMPLICIT))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("kind", KAPPAS)
def test_unrolled(backward_shim: BackwardShim, kind: str, reference: int, dtype: type) -> None:
    case = with_holes(problem((19, 12), kind, reference=reference, dtype=dtype, tol=0.04, max_iter=8))
    work = solved(replace(case, epsilon=np.array([1.5, 0.1])), UNROLLED)
    assert work.inputs["iterations"].min() < work.case.max_iter
    check(backward_shim, work)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KAPPAS)
def test_frozen(backward_shim: BackwardShim, kind: str, dtype: type) -> None:
    got = check(backward_shim, solved(with_holes(problem((19, 33), kind, dtype=dtype)), FROZEN))
    for name in ("grad_a", "grad_b", "residual"):
        np.testing.assert_array_equal(got[name], 0.0)


@pytest.mark.parametrize("mode", MODES)
def test_masks_and_padding(backward_shim: BackwardShim, mode: str) -> None:
    case = problem((19, 23), "unbalanced", max_iter=9)
    check(backward_shim, solved(with_mask(case), MODES[mode]))
    work = solved(case, MODES[mode])
    dense, apart = check(backward_shim, work), check(backward_shim, replace(work, case=with_padding(case)))
    assert same(dense, apart)


@pytest.mark.parametrize("mode", MODES)
def test_expanded_batch(backward_shim: BackwardShim, mode: str) -> None:
    case = problem((9, 12), "balanced", batch=5, max_iter=9)
    check(backward_shim, solved(replace(case, cost=np.broadcast_to(case.cost[:1], case.shape)), MODES[mode]))
    check(backward_shim, solved(replace(case, cost=np.broadcast_to(case.cost[:, :1], case.shape)), MODES[mode]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (40, 1), (33, 8), (8, 33)])
def test_shapes(backward_shim: BackwardShim, n: int, m: int, mode: str) -> None:
    for kind in ("balanced", "unbalanced"):
        check(backward_shim, solved(problem((n, m), kind, max_iter=9), MODES[mode]))


def test_longer_lines_than_a_block(backward_shim: BackwardShim) -> None:
    for size in ((3, 530), (530, 3)):
        for mode in (IMPLICIT, UNROLLED):
            check(backward_shim, solved(problem(size, "soft_rows", batch=1, max_iter=3), mode))


def test_empty_batch(backward_shim: BackwardShim) -> None:
    for mode in MODES.values():
        assert backward_shim.differentiate(solved(make(batch=0, max_iter=3), mode))["grad_a"].shape == (0, 19)


@pytest.mark.parametrize("share", ["sharp", "regularized", "potentials"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_each_loss_alone(backward_shim: BackwardShim, size: tuple[int, int], share: str) -> None:
    none = {"sharp": 0.0, "regularized": 0.0, "potentials": 0.0}
    for kind in ("balanced", "unbalanced"):
        for mode in (IMPLICIT, UNROLLED):
            got = check(backward_shim, solved(problem(size, kind, max_iter=9), mode, **(none | {share: 1.0})))
            if share == "regularized":
                np.testing.assert_array_equal(got["residual"], 0.0)  # no system is solved


def test_gradient_in_the_cost_left_out(backward_shim: BackwardShim) -> None:
    for mode in (IMPLICIT, FROZEN):
        work = solved(problem(SMALL, "soft_rows"), mode)
        whole, part = check(backward_shim, work), check(backward_shim, replace(work, wants_cost=False))
        assert same(part, {name: whole[name] for name in part})


def with_empty_lines(case: Case) -> Case:
    """Rows and columns with mass whose plan underflows: transport from and to them is dear beyond exp(-230)."""
    cost = case.cost.copy()
    cost[:, 2, :] += 1e3
    cost[:, 4, :] += 2e3
    cost[:, :, 3] += 1.5e3
    return replace(case, cost=cost)


@pytest.mark.parametrize("reference", [ENTROPY, PRODUCT])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_lines_whose_plan_underflows(backward_shim: BackwardShim, size: tuple[int, int], reference: int) -> None:
    for dtype in (np.float64, np.float32):
        case = with_empty_lines(problem(size, "unbalanced", reference=reference, dtype=dtype))
        work = solved(case, IMPLICIT)
        got = check(backward_shim, work)
        assert (np.abs(got["grad_cost"][:, 2]).sum(1) > 0).all()  # their potentials pass their gradient on


def test_nothing_to_transport(backward_shim: BackwardShim) -> None:
    case = problem(SMALL, "unbalanced", max_iter=3)
    for mode in MODES.values():
        check(backward_shim, solved(replace(case, cost=np.full_like(case.cost, INF)), mode))
        check(backward_shim, solved(replace(case, a=np.zeros_like(case.a), b=np.zeros_like(case.b)), mode))


def test_rescaled_masses(backward_shim: BackwardShim) -> None:
    case = problem(SMALL, "balanced", max_iter=9)
    for mode in MODES.values():
        check(backward_shim, solved(replace(case, b=case.b * np.array([[1.0], [1.0005]])), mode))


@pytest.mark.parametrize("mode", MODES)
def test_refused_problem_leaves_its_neighbours_alone(backward_shim: BackwardShim, mode: str) -> None:
    case = problem(SMALL, "balanced", batch=3, max_iter=9)
    got = check(backward_shim, solved(replace(case, cost=put(case.cost, 1, 4, 6, NAN)), MODES[mode]))
    for name in GRADIENTS:
        assert np.isnan(got[name][1]).all()
        assert np.isfinite(got[name][[0, 2]]).all()


def test_teams_of_every_size(backward_shim: BackwardShim) -> None:
    """Blocks without a line of their own too, and a device that cannot launch teams."""
    work = solved(problem((26, 33), "balanced", batch=1, max_iter=9), IMPLICIT)
    try:
        for count in (1, 2, 3, 5):
            backward_shim.multiprocessors(count)
            check(backward_shim, work, seed=count)
        backward_shim.multiprocessors(5)
        check(backward_shim, solved(problem((3, 33), "balanced", batch=1, max_iter=9), IMPLICIT))
        check(
            backward_shim, solved(problem((40, 33), "unbalanced", batch=9, max_iter=9), IMPLICIT)
        )  # more problems than blocks
    finally:
        backward_shim.multiprocessors(CHIP)


def test_system_that_needs_many_products(backward_shim: BackwardShim) -> None:
    """Small epsilon: the conjugate gradients of problems of one batch end at different counts."""
    case = problem((17, 20), "balanced", batch=3, max_iter=4000, method=SINKHORN)
    check(backward_shim, solved(replace(case, epsilon=np.array([0.5, 0.1, 0.02])), IMPLICIT), faithful=1e-11)
    case = problem((27, 30), "balanced", batch=3, max_iter=4000, method=SINKHORN)
    check(backward_shim, solved(replace(case, epsilon=np.array([0.5, 0.1, 0.02])), IMPLICIT), faithful=1e-11)


DEMANDING = {
    "in_a_block": (22, 24, "unbalanced", IMPLICIT),
    "in_a_block_singular": (22, 24, "balanced", IMPLICIT),
    "by_a_team": (40, 36, "unbalanced", IMPLICIT),
    "by_a_team_singular": (28, 29, "balanced", IMPLICIT),
    "unrolled": (36, 40, "unbalanced", UNROLLED),
}


def demanding(which: str) -> Backward:
    """Together they pass every barrier: several warps a block, zero masses, empty lines, each loss."""
    n, m, kind, mode = DEMANDING[which]
    case = with_holes(make(batch=2, n=n, m=m, kappa=KAPPAS[kind], reference=PRODUCT, max_iter=6, tol=0.0))
    return solved(with_empty_lines(case) if kind == "unbalanced" else case, mode)


@pytest.mark.parametrize("which", DEMANDING)
def test_no_schedule_changes_a_bit(backward_shim: BackwardShim, which: str) -> None:
    work = demanding(which)
    first = backward_shim.differentiate(work, seed=1)
    for seed in range(2, 6):
        assert same(first, backward_shim.differentiate(work, seed))


def test_every_barrier_is_needed(backward_shim: BackwardShim) -> None:
    """Each barrier of the kernels, left out, changes results or stops the run; see ``test_schedules.py``."""
    works = [demanding(which) for which in DEMANDING]
    sound: list[dict[str, np.ndarray]] = []
    barriers = backward_shim.barriers(lambda: sound.extend(backward_shim.differentiate(work) for work in works))
    assert len(barriers) >= 9
    missed = []
    for barrier in barriers:
        for seed, work, expected in [(s, w, e) for s in range(1, 6) for w, e in zip(works, sound, strict=True)]:
            try:
                if not same(expected, backward_shim.differentiate(work, seed, dropped=barrier)):
                    break
            except (RuntimeError, AssertionError):
                break
        else:
            missed.append(barrier)
    assert missed == []
