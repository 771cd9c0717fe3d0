"""Estimates of the ideal loss: closed forms, and bias measured on data with known propensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from wbm_ext.datasets import make_ratings
from wbm_ext.metrics import dr_estimate, ideal_loss, ips_estimate, naive_estimate, snips_estimate

ERRORS = np.array([[1.0, 4.0], [2.0, 8.0]])
SEEN = np.array([[1, 0], [1, 1]])
Q = np.array([[0.5, 0.25], [0.2, 0.8]])


@dataclass(frozen=True)
class Draws:
    errors: np.ndarray
    observed: np.ndarray
    q: np.ndarray
    imputed: np.ndarray

    @property
    def ideal(self) -> float:
        return ideal_loss(self.errors)


@pytest.fixture(scope="module")
def draws() -> Draws:
    """4000 redraws of which pairs are observed, in one small generated data set with strong selection."""
    data = make_ratings(30, 40, density=0.15, selection=2.0, random_state=5)
    rng = np.random.default_rng(6)
    observed = rng.random((4000, *data.propensities.shape)) < data.propensities
    errors = (5 - data.truth.astype(float)) ** 2 / 16 + 0.1 * rng.random(data.truth.shape)
    return Draws(errors, observed, data.propensities, rng.random(errors.shape))


def deviation(estimates: np.ndarray, value: float) -> float:
    """Distance of the mean estimate from ``value`` in standard errors; beyond 4: not covered."""
    assert estimates.shape == (4000,)
    return abs(estimates.mean() - value) / (estimates.std(ddof=1) / np.sqrt(len(estimates)))


def test_by_hand() -> None:
    assert ideal_loss(ERRORS) == 15 / 4
    assert naive_estimate(ERRORS, SEEN) == pytest.approx(11 / 3)
    assert ips_estimate(ERRORS, SEEN, Q) == pytest.approx((1 / 0.5 + 2 / 0.2 + 8 / 0.8) / 4)
    assert snips_estimate(ERRORS, SEEN, Q) == pytest.approx(22 / (1 / 0.5 + 1 / 0.2 + 1 / 0.8))
    imputed = np.full((2, 2), 3.0)
    assert dr_estimate(ERRORS, imputed, SEEN, Q) == pytest.approx((12 - 2 / 0.5 - 1 / 0.2 + 5 / 0.8) / 4)


def test_a_stack_of_draws_gives_one_estimate_each() -> None:
    stack = np.stack([SEEN, 1 - SEEN, np.ones_like(SEEN)])
    one_by_one = [snips_estimate(ERRORS, seen, Q) for seen in stack]
    assert snips_estimate(ERRORS, stack, Q).tolist() == pytest.approx(one_by_one)
    assert ips_estimate(ERRORS, stack[None], Q).shape == (1, 3)
    assert isinstance(ips_estimate(ERRORS, SEEN, Q), float)


def test_errors_of_unobserved_pairs_are_not_read() -> None:
    holed = np.where(SEEN == 1, ERRORS, np.nan)
    assert naive_estimate(holed, SEEN) == naive_estimate(ERRORS, SEEN)
    assert ips_estimate(holed, SEEN, Q) == ips_estimate(ERRORS, SEEN, Q)
    assert snips_estimate(holed, SEEN, Q) == snips_estimate(ERRORS, SEEN, Q)
    assert dr_estimate(holed, ERRORS, SEEN, Q) == dr_estimate(ERRORS, ERRORS, SEEN, Q)


def test_doubly_robust_is_exact_for_right_imputations_whatever_the_propensity(draws: Draws) -> None:
    wrong = np.random.default_rng(0).uniform(0.01, 1, draws.q.shape)
    for seen in draws.observed[:5]:
        assert dr_estimate(draws.errors, draws.errors, seen, wrong) == pytest.approx(draws.ideal, abs=1e-12)


def test_estimates_agree_if_everything_is_observed() -> None:
    ones = np.ones((2, 2))
    for estimate in (
        naive_estimate(ERRORS, ones),
        ips_estimate(ERRORS, ones, ones),
        snips_estimate(ERRORS, ones, Q * 0 + 0.3),
        dr_estimate(ERRORS, Q, ones, ones),
    ):
        assert estimate == pytest.approx(ideal_loss(ERRORS))


def test_ips_with_the_true_propensity_covers_the_ideal_loss(draws: Draws) -> None:
    assert deviation(ips_estimate(draws.errors, draws.observed, draws.q), draws.ideal) < 4


def test_naive_does_not_cover_the_ideal_loss(draws: Draws) -> None:
    estimates = naive_estimate(draws.errors, draws.observed)
    assert deviation(estimates, draws.ideal) > 40
    assert estimates.mean() < 0.8 * draws.ideal


def test_ips_multiplied_by_the_density_is_off_by_that_factor(draws: Draws) -> None:
    scaled = draws.q.mean() * ips_estimate(draws.errors, draws.observed, draws.q)
    assert deviation(scaled, draws.ideal) > 40
    assert deviation(scaled, 0.15 * draws.ideal) < 4


def test_ips_with_a_wrong_propensity_does_not_cover(draws: Draws) -> None:
    constant = np.full_like(draws.q, draws.q.mean())
    assert deviation(ips_estimate(draws.errors, draws.observed, constant), draws.ideal) > 40


def test_snips_is_close_with_less_spread_than_ips(draws: Draws) -> None:
    snips = snips_estimate(draws.errors, draws.observed, draws.q)
    assert abs(snips.mean() / draws.ideal - 1) < 0.01
    assert snips.std() < ips_estimate(draws.errors, draws.observed, draws.q).std()


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_doubly_robust_with_the_true_propensity_covers_for_any_imputation(draws: Draws, scale: float) -> None:
    estimates = dr_estimate(draws.errors, scale * draws.imputed, draws.observed, draws.q)
    assert deviation(estimates, draws.ideal) < 4


def test_doubly_robust_without_the_weight_on_the_imputed_error_does_not_cover(draws: Draws) -> None:
    unweighted = (draws.observed * draws.imputed).mean(axis=(1, 2))
    wrong = draws.imputed.mean() - unweighted + ips_estimate(draws.errors, draws.observed, draws.q)
    assert deviation(wrong, draws.ideal) > 40


def test_good_imputations_shrink_the_spread(draws: Draws) -> None:
    rough = draws.errors + 0.1 * (draws.imputed - 0.5)
    assert dr_estimate(draws.errors, rough, draws.observed, draws.q).std() < (
        0.3 * ips_estimate(draws.errors, draws.observed, draws.q).std()
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ideal_loss([1.0, np.nan]), "errors: values must be finite; got nan at position 1"),
        (lambda: ideal_loss([]), "errors must hold at least one value"),
        (lambda: naive_estimate(ERRORS, SEEN[0]), r"observed must have shape .*got \(2,\)"),
        (lambda: naive_estimate(ERRORS, 2 * SEEN), "observed: values must be 0 or 1; got 2"),
        (lambda: naive_estimate(ERRORS, 0 * SEEN), "observed: each draw must observe a pair"),
        (lambda: snips_estimate(ERRORS, 0 * SEEN, Q), "observed: each draw must observe a pair"),
        (lambda: naive_estimate(ERRORS / [[0, 1], [1, 1]], SEEN), "errors of observed pairs must be finite"),
        (lambda: ips_estimate(ERRORS, SEEN, Q[:1]), r"propensity must have the shape of errors, \(2, 2\)"),
        (lambda: ips_estimate(ERRORS, SEEN, Q - 0.2), r"must be in \(0, 1\]; got 0\.0 at position \(1, 0\)"),
        (lambda: dr_estimate(ERRORS, Q[0], SEEN, Q), r"imputed must have the shape of errors, \(2, 2\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_refused(call, text) -> None:
    with pytest.raises(ValueError, match=text):
        call()
