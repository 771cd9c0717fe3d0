"""Statistical systems against their formulae, and intervals against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wbm_ext.ite import AverageEffect, create


def test_ols_is_the_coefficient_of_the_treatment(problem: Any) -> None:
    design = np.column_stack([np.ones(600), problem.X, problem.treatment])
    coefficients = np.linalg.lstsq(design, problem.y, rcond=None)[0]
    model = create("ols").fit(**problem.arguments)
    np.testing.assert_allclose(model.effect(problem.X[:3]), coefficients[-1])
    np.testing.assert_allclose(model.predict_outcomes(problem.X)[:, 0], design[:, :-1] @ coefficients[:-1])


def test_nearest_neighbours_of_a_case_worked_by_hand() -> None:
    X, t = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]]), np.array([0, 0, 1, 1, 1])
    y = np.array([1.0, 2.0, 5.0, 7.0, 100.0])
    model = create("knn", n_neighbors=2).fit(X, y, treatment=t)
    np.testing.assert_allclose(model.predict_outcomes([[0.0], [9.0]]), [[1.5, 6.0], [1.5, 53.5]])
    # a group with fewer units gives all of them
    np.testing.assert_allclose(create("knn", n_neighbors=9).fit(X, y, treatment=t).ate(X).value, 112 / 3 - 1.5)


def test_propensity_matching_looks_at_the_propensity_alone() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    t = (rng.uniform(size=400) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(int)
    model = create("psm", n_neighbors=1, scale=None).fit(X, X[:, 0] + t, treatment=t)
    score = model.propensity_model_.decision_function(X)
    nearest = np.abs(score[t == 1][None] - score[:, None]).argmin(1)
    np.testing.assert_allclose(model.predict_outcomes(X)[:, 1], (X[:, 0] + t)[t == 1][nearest])
    assert np.corrcoef(score, X[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_bootstrap_of_ols_has_the_width_of_theory(level: float, problem: Any) -> None:
    model = create("ols", n_bootstrap=400, random_state=0).fit(**problem.arguments)
    design = np.column_stack([np.ones(600), problem.X, problem.treatment])
    residual = problem.y - design @ np.linalg.lstsq(design, problem.y, rcond=None)[0]
    error = np.sqrt(residual @ residual / 594 * np.linalg.inv(design.T @ design)[-1, -1])
    quantile = {0.5: 0.6745, 0.95: 1.96}[level]
    effect = model.ate(problem.X, level=level)
    assert effect.method == "bootstrap"
    assert effect.lower < effect.value < effect.upper
    assert effect.upper - effect.lower == pytest.approx(2 * quantile * error, rel=0.2)
    assert float(model.att(problem.X, problem.treatment, level=level)) == pytest.approx(effect.value)
    lower, upper = model.effect_interval(problem.X[:2], level=level)
    np.testing.assert_allclose([lower[0], upper[1]], [effect.lower, effect.upper])


def test_networks_have_bootstrap_intervals_too(small: Any) -> None:
    params = {"epochs": 2, "random_state": 0, "n_bootstrap": 4}
    model = create("escfr", **params).fit(**small.arguments)
    effect = model.ate(small.X)
    assert effect.lower < effect.upper
    assert create("escfr", **params).fit(**small.arguments).ate(small.X) == effect
    lower, upper = model.effect_interval(small.X)
    assert (lower <= upper).all()


def test_without_a_bootstrap_there_is_a_value_and_no_interval(small: Any) -> None:
    model = create("knn").fit(**small.arguments)
    effect = model.ate(small.X)
    assert (effect.lower, effect.upper, effect.method) == (None, None, None)
    assert str(effect) == f"{effect.value:.4g}"
    with pytest.raises(ValueError, match="knn has no interval of its own; fit it with n_bootstrap=200"):
        model.effect_interval(small.X)
    with pytest.raises(ValueError, match="level must be"):
        model.ate(small.X, level=95)


def test_an_average_shows_its_interval() -> None:
    assert str(AverageEffect(2.0, 1.5, 2.25, level=0.9, method="model")) == "2 [1.5, 2.25] (90%, model)"
    assert float(AverageEffect(2.0)) == 2.0


@pytest.mark.parametrize("name", ["causal-forest", "orthogonal-forest"])
def test_the_forests_have_intervals_of_econml(name: str, problem: Any) -> None:
    pytest.importorskip("econml")
    model = create(name, n_estimators=20, random_state=0).fit(**problem.arguments)
    few = problem.X[:6]
    effect = model.ate(few)
    assert effect.method == "model"
    assert effect.lower < problem.effect < effect.upper
    assert model.ate(few, level=0.5).upper < effect.upper
    lower, upper = model.effect_interval(few)
    assert ((lower < model.effect(few)) & (model.effect(few) < upper)).all()


def test_a_causal_forest_needs_a_multiple_of_four_trees(small: Any) -> None:
    with pytest.raises(ValueError, match="n_estimators must be a multiple of 4; got 10"):
        create("causal-forest", n_estimators=10).fit(**small.arguments)


@pytest.mark.parametrize("name", ["ols", "random-forest", "causal-forest", "orthogonal-forest", "knn", "psm"])
def test_without_a_file_save_tells_what_to_do_instead(name: str) -> None:
    assert not hasattr(create(name), "save")
    assert not hasattr(type(create(name)), "save")
    with pytest.raises(AttributeError, match=rf"{name} has no save: .* with the same random_state"):
        create(name).save("model.pt")


def test_networks_have_a_file() -> None:
    assert hasattr(create("tarnet"), "save")
