"""The summary of an estimate, refutations and sensitivity: figures against closed forms and other code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from wbm_ext import datasets, ite

UNITS = datasets.make_treatments(1500, random_state=0)


def fitted(system: str, **params):
    return ite.create(system, random_state=0, **params).fit(UNITS.X, UNITS.y, treatment=UNITS.treatment)


def summary(system: str, **params) -> ite.EffectSummary:
    return ite.summarise(fitted(system, **params), UNITS.X, UNITS.y, treatment=UNITS.treatment)


def test_the_standard_error_of_least_squares_is_that_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    design = api.add_constant(np.column_stack([UNITS.X, UNITS.treatment]))
    expected = api.OLS(UNITS.y, design).fit(cov_type="HC1")
    found = fitted("ols").ate(UNITS.X)
    assert found.standard_error == pytest.approx(expected.bse[-1], rel=1e-9)
    assert (found.lower, found.upper) == pytest.approx(tuple(expected.conf_int()[-1]), rel=1e-9)


def test_the_interval_of_least_squares_covers_as_often_as_it_says() -> None:
    rng, covered, rounds = np.random.default_rng(0), 0, 300
    for _ in range(rounds):
        x = rng.normal(size=(150, 2))
        t = (rng.random(150) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
        y = x @ [1.0, -2.0] + 0.5 * t + (1 + t) * rng.normal(size=150)  # unequal variances
        found = ite.create("ols").fit(x, y, treatment=t).ate(x)
        covered += found.lower <= 0.5 <= found.upper
    assert abs(covered / rounds - 0.95) < 3 * np.sqrt(0.95 * 0.05 / rounds)


def test_a_treatment_that_the_covariates_tell_is_refused() -> None:
    x = np.column_stack([UNITS.X[:, 0], UNITS.treatment * 2.0 - UNITS.X[:, 0]])
    with pytest.raises(ValueError, match="the 2 covariates tell the treatment exactly"):
        ite.create("ols").fit(x, UNITS.y, treatment=UNITS.treatment)


@pytest.mark.parametrize("system", ["ols", "psm", "knn"])
def test_the_doubly_robust_interval_holds_the_truth_and_has_a_width(system: str) -> None:
    found = summary(system).doubly_robust
    assert found.lower - 0.1 <= UNITS.ate() <= found.upper + 0.1
    assert 0.05 < found.standard_error < 0.3
    assert found.upper - found.value == pytest.approx(1.959964 * found.standard_error, rel=1e-5)


def test_the_causal_forest_gives_the_doubly_robust_average_of_econml() -> None:
    pytest.importorskip("econml")
    model = fitted("causal-forest", n_estimators=40)
    found, treated = model.ate(UNITS.X), model.att(UNITS.X, UNITS.treatment)
    assert found.value == pytest.approx(float(np.ravel(model.model_.ate_)[0]))
    assert found.standard_error == pytest.approx(float(np.ravel(model.model_.ate_stderr_)[0]))
    assert treated.value == pytest.approx(float(np.ravel(model.model_.att_(T=1))[0]))
    wide = model.ate(UNITS.X[:-1])
    assert wide.method == "model"
    assert wide.upper - wide.lower > 2 * (found.upper - found.lower)


def test_the_summary_counts_what_the_table_holds() -> None:
    frame = pd.DataFrame(UNITS.X[:, :2], columns=["age", "income"]).assign(region=["n", "s", "w"] * 500, one=1.0)
    model = ite.create("ols").fit(frame, UNITS.y, treatment=UNITS.treatment)
    found = ite.summarise(model, frame, UNITS.y, treatment=UNITS.treatment)
    treated = UNITS.treatment == 1
    assert (found.n_treated, found.n_untreated) == (treated.sum(), (~treated).sum())
    assert found.covariates == {"age": "number", "income": "number", "region": "labels: 3", "one": "number"}
    assert found.held_out
    assert found.r2 == pytest.approx(model.score(frame, UNITS.y, treatment=UNITS.treatment), abs=0.02)
    age = UNITS.X[:, 0]
    expected = (age[treated].mean() - age[~treated].mean()) / np.sqrt((age[treated].var() + age[~treated].var()) / 2)
    assert found.before[0] == pytest.approx(expected)
    assert np.abs(found.after).max() < np.abs(found.before).max()
    weights = np.where(treated, 1 / found.propensity, 1 / (1 - found.propensity))
    assert found.ess_treated == pytest.approx(weights[treated].sum() ** 2 / (weights[treated] ** 2).sum())
    text = str(found)
    for word in ("treated", "age", "region (3)", "doubly robust", "overlap", "effective sample size", "balance", "R²"):
        assert word in text
    assert "constant covariates: one" in text


def test_poor_overlap_is_told() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    t = (x[:, 0] + 0.1 * rng.normal(size=600) > 0).astype(int)
    model = ite.create("ols").fit(x, x[:, 0] + t, treatment=t)
    found = ite.summarise(model, x, x[:, 0] + t, treatment=t)
    assert any("outside .05 to .95" in text for text in found.warnings)
    assert found.propensity_auc > 0.95


def test_refutations_pass_for_a_sound_estimate_and_leave_the_model_alone() -> None:
    model = fitted("ols")
    before = model.ate(UNITS.X)
    found = ite.refute(model, UNITS.X, UNITS.y, treatment=UNITS.treatment, repeats=8)
    assert model.ate(UNITS.X) == before
    placebo, noise, subset = found
    assert [item.passed for item in found] == [True] * 3
    assert abs(placebo.found.mean()) < 0.15
    np.testing.assert_allclose(noise.found, before.value, atol=0.02)
    assert 0 < subset.found.std() < 0.2
    again = ite.refute(model, UNITS.X, UNITS.y, treatment=UNITS.treatment, repeats=8)
    np.testing.assert_array_equal(again[2].found, subset.found)


def test_a_placebo_that_has_an_effect_does_not_pass() -> None:
    class Biased(ite.OLS):
        """An estimator that finds an effect of 1 whatever the treatments are."""

        def _effect(self, x):
            return super()._effect(x) + 1.0

    model = Biased().fit(UNITS.X, UNITS.y, treatment=UNITS.treatment)
    assert isinstance(clone(model), Biased)
    placebo = ite.refute(model, UNITS.X, UNITS.y, treatment=UNITS.treatment, repeats=4)[0]
    assert not placebo.passed
    assert "SHOULD NOT BE" in str(placebo)


def test_the_robustness_value_is_the_published_formula() -> None:
    model = fitted("ols")
    found = ite.sensitivity(model, UNITS.X, UNITS.y, treatment=UNITS.treatment)
    design = np.column_stack([np.ones(1500), UNITS.X, UNITS.treatment])
    coefficients, residual, rank, _ = np.linalg.lstsq(design, UNITS.y, rcond=None)
    freedom = 1500 - rank
    error = np.sqrt(residual[0] / freedom * np.linalg.inv(design.T @ design)[-1, -1])
    f = abs(coefficients[-1] / error) / np.sqrt(freedom)
    assert found.robustness_value == pytest.approx((np.sqrt(f**4 + 4 * f**2) - f**2) / 2)
    assert 0 < found.strongest_share < 1
    nothing = ite.sensitivity(model, UNITS.X, UNITS.y - coefficients[-1] * UNITS.treatment, treatment=UNITS.treatment)
    assert nothing.robustness_value == pytest.approx(0, abs=1e-6)
