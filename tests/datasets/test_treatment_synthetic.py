"""Generated treatment effects: the truth is that of the formulae, each knob does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from wbm_ext.datasets import make_hidden_toy, make_treatments
from wbm_ext.errors import UnknownNameError

LARGE = 20_000


@pytest.mark.parametrize("surface", ["linear", "nonlinear"])
def test_effects_have_mean_one_and_the_wanted_spread(surface: str) -> None:
    data = make_treatments(LARGE, surface=surface, heterogeneity=2.0)
    assert data.ate() == pytest.approx(1.0, abs=4 * 2 / np.sqrt(LARGE))
    assert data.effect().std() == pytest.approx(2.0, rel=0.03)
    assert data.att() > data.ate() + 0.3  # who gains more is treated more
    constant = make_treatments(surface=surface, heterogeneity=0.0)
    assert np.allclose(constant.effect(), 1.0)


def test_the_linear_surface_is_linear_in_what_is_shown_and_hidden() -> None:
    data = make_treatments(500, 6, surface="linear", hidden=0.7)
    design = np.column_stack([np.ones(500), data.X, data.hidden])
    for outcome in (data.mu0, data.mu1):
        residual = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
        assert abs(residual).max() < 1e-10
    nonlinear = make_treatments(500, 6)
    design = np.column_stack([np.ones(500), nonlinear.X])
    residual = nonlinear.mu0 - design @ np.linalg.lstsq(design, nonlinear.mu0, rcond=None)[0]
    assert residual.std() > 0.5


@pytest.mark.parametrize("overlap", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("treated", [0.1, 0.5])
def test_treatment_is_a_bernoulli_draw_of_the_propensities(overlap: float, treated: float) -> None:
    data = make_treatments(LARGE, overlap=overlap, treated=treated)
    q = data.propensities
    assert q.mean() == pytest.approx(treated, abs=1e-9)
    for part in (q <= np.quantile(q, 0.5), q >= np.quantile(q, 0.5)):
        assert abs((data.treatment - q)[part].sum()) < 4 * np.sqrt((q * (1 - q))[part].sum()) + 1e-9


def test_less_overlap_spreads_the_propensities_and_biases_the_naive_difference() -> None:
    spread, bias = [], []
    for overlap in (1.0, 0.6, 0.3, 0.1):
        data = make_treatments(LARGE, overlap=overlap, surface="linear")
        spread.append(data.propensities.std())
        treated = data.treatment == 1
        bias.append(data.y[treated].mean() - data.y[~treated].mean() - data.att())
    assert (np.diff(spread) > 0.05).all()
    assert abs(bias[0]) < 0.1
    assert (np.diff(bias) > 0.1).all()


def test_a_hidden_confounder_biases_what_the_covariates_cannot_correct() -> None:
    def bias(hidden: float) -> float:
        # regression on covariates and treatment is right on a linear surface with a constant effect, but for h
        data = make_treatments(LARGE, surface="linear", heterogeneity=0.0, hidden=hidden)
        design = np.column_stack([data.treatment, np.ones(LARGE), data.X])
        return np.linalg.lstsq(design, data.y, rcond=None)[0][0] - 1.0

    assert abs(bias(0.0)) < 0.06
    assert 0.1 < bias(0.5) < bias(1.0)


def test_outliers_are_marked_and_far() -> None:
    data, plain = make_treatments(outliers=0.05, outlier_scale=6.0), make_treatments()
    assert (data.outliers.sum(), plain.outliers.sum()) == (50, 0)
    assert np.allclose(data.X[data.outliers], 6 * plain.X[data.outliers])
    assert np.array_equal(data.X[~data.outliers], plain.X[~data.outliers])


def test_the_knobs_leave_the_units_alone_and_the_seed_decides() -> None:
    one, other = make_treatments(overlap=0.2), make_treatments(overlap=0.9, treated=0.5)
    for part in ("X", "mu0", "mu1", "hidden"):
        assert np.array_equal(getattr(one, part), getattr(other, part))
    outcome1 = [np.where(data.treatment == 1, data.y, data.y_cf) for data in (one, other)]
    assert np.array_equal(*outcome1)
    assert not np.array_equal(one.X, make_treatments(random_state=1).X)
    assert {part.dtype for part in (one.X, one.y, one.mu0, one.propensities)} == {np.dtype(np.float64)}


def test_noise_has_the_wanted_size() -> None:
    data = make_treatments(LARGE, noise=0.5)
    error = data.y - np.where(data.treatment == 1, data.mu1, data.mu0)
    assert error.std() == pytest.approx(0.5, rel=0.02)
    clean = make_treatments(noise=0.0)
    assert np.array_equal(clean.y, np.where(clean.treatment == 1, clean.mu1, clean.mu0))


def test_the_toy_is_that_of_figure_9() -> None:
    data = make_hidden_toy()
    assert np.array_equal(data.hidden.ravel(), data.treatment)
    assert np.allclose(data.y, np.sqrt(np.square(data.X).sum(axis=1) + data.hidden.ravel() ** 2))
    assert data.treatment.sum() == 200
    assert (data.ate(), data.att()) == (0.0, 0.0)


def test_the_toy_has_balanced_covariates_and_a_biased_difference() -> None:
    data = make_hidden_toy(LARGE)
    treated = data.treatment == 1
    assert abs(data.X[treated].mean(axis=0) - data.X[~treated].mean(axis=0)).max() < 4 * np.sqrt(4 / 3 / LARGE)
    assert data.y[treated].mean() - data.y[~treated].mean() > 0.4
    for unconfounded in (make_hidden_toy(LARGE, exchange=0.5), make_hidden_toy(LARGE, surface="non-monotone")):
        treated = unconfounded.treatment == 1
        assert abs(unconfounded.y[treated].mean() - unconfounded.y[~treated].mean()) < 0.03


def test_the_toys_effect_is_the_one_asked_for() -> None:
    data = make_hidden_toy(effect=-0.5, noise=0.1, treated=0.25, random_state=3)
    assert np.allclose(data.effect(), -0.5)
    assert data.treatment.sum() == 100
    assert not np.array_equal(data.y, np.where(data.treatment == 1, data.mu1, data.mu0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: make_treatments(0), ValueError, "n must be an integer of at least 1; got 0"),
        (lambda: make_treatments(n_features=2), ValueError, "n_features must be an integer of at least 3; got 2"),
        (lambda: make_treatments(surface="quadratic"), UnknownNameError, "surface='quadratic' does not exist"),
        (lambda: make_treatments(overlap=0), ValueError, r"overlap must be above 0; got 0\.0"),
        (lambda: make_treatments(overlap=2), ValueError, r"overlap must be a finite number in \[0, 1\]; got 2"),
        (lambda: make_treatments(treated=1), ValueError, "treated must be above 0 and below 1; got 1"),
        (lambda: make_treatments(hidden=-1), ValueError, "hidden must be a finite number"),
        (lambda: make_treatments(outliers=1.5), ValueError, "outliers must be a finite number"),
        (lambda: make_treatments(outlier_scale=0.5), ValueError, "outlier_scale must be a finite number"),
        (lambda: make_treatments(noise="loud"), TypeError, "noise must be a finite number"),
        (lambda: make_hidden_toy(1), ValueError, "n must be an integer of at least 2"),
        (lambda: make_hidden_toy(treated=0.0001), ValueError, r"must give both groups a unit; got 0\.0001, i\.e\. 0 of 400"),
        (lambda: make_hidden_toy(exchange=0.6), ValueError, r"exchange must be a finite number in \[0, 0\.5\]"),
        (lambda: make_hidden_toy(surface="monoton"), UnknownNameError, "did you mean 'monotone'"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
