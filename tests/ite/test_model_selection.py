"""scikit-learn's tools around an effect estimator: clones, pipelines, cross-validation, grids, scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wbm_ext.ite import create, systems

QUICK = {"epochs": 2, "random_state": 0, "n_estimators": 8}


def quick(name: str) -> Any:
    known = create(name).get_params()
    return create(name, **{key: value for key, value in QUICK.items() if key in known})


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.parametrize("name", systems())
def test_the_score_is_that_of_the_outcomes_under_the_treatment_received(name: str, small: Any) -> None:
    model = quick(name).fit(**small.arguments)
    predicted = model.predict_outcomes(small.X)[np.arange(80), small.treatment]
    assert model.score(small.X, small.y, treatment=small.treatment) == pytest.approx(r2_score(small.y, predicted))
    weights = np.arange(80.0)
    assert model.score(**small.arguments, sample_weight=weights) == pytest.approx(
        r2_score(small.y, predicted, sample_weight=weights)
    )


def test_cross_validation_of_ols_is_that_of_the_regression(routing: None, small: Any) -> None:
    """By hand: least squares of y on [x, t], fold by fold."""
    found = cross_val_score(create("ols"), small.X, small.y, params={"treatment": small.treatment}, cv=4)
    both = np.column_stack([small.X, small.treatment])
    np.testing.assert_allclose(found, cross_val_score(LinearRegression(), both, small.y, cv=KFold(4)))
    scaled = make_pipeline(StandardScaler(), create("ols"))
    np.testing.assert_allclose(
        cross_val_score(scaled, small.X, small.y, params={"treatment": small.treatment}, cv=4), found
    )


def test_a_grid_is_searched_and_the_best_refitted(routing: None, small: Any) -> None:
    search = GridSearchCV(quick("escfr"), {"kappa": [1.0, float("inf")], "gamma": [0.0]}, cv=2)
    search.fit(small.X, small.y, treatment=small.treatment)
    again = clone(search.best_estimator_).fit(**small.arguments)
    np.testing.assert_array_equal(search.best_estimator_.effect(small.X), again.effect(small.X))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_pipeline_hands_on_the_treatment(routing: None, small: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), create("knn", random_state=0)).fit(**small.arguments)
    model = create("knn", scale="standard", random_state=0).fit(**small.arguments)
    np.testing.assert_allclose(pipeline[-1].effect(pipeline[:-1].transform(small.X)), model.effect(small.X))
    assert pipeline.score(**small.arguments) == pytest.approx(model.score(**small.arguments))


def test_a_score_of_ones_own_needs_no_routing(small: Any) -> None:
    def spread(model: Any, X: Any, y: Any) -> float:
        return float(np.std(model.effect(X)))

    folds = cross_val_score(create("knn"), small.X, small.y, params={"treatment": small.treatment}, scoring=spread)
    assert np.isfinite(folds).all()


def test_a_score_that_cannot_be_says_why(small: Any) -> None:
    model = create("ols").fit(**small.arguments)
    with pytest.raises(TypeError, match=r"score needs treatment.*enable_metadata_routing=True"):
        model.score(small.X, small.y)
    with pytest.raises(ValueError, match="y must have the length of X, 80; got 3"):
        model.score(small.X, small.y[:3], treatment=small.treatment)
    with pytest.raises(ValueError, match=r"sample_weight: weights must not be negative; got -1.0 at position 0"):
        model.score(**small.arguments, sample_weight=-np.ones(80))
    assert np.isfinite(model.score(small.X, small.y, treatment=np.zeros(80)))  # one group suffices
