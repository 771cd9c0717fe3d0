"""A user's own table: the right answer, or one error that names argument, column and row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from wbm_ext.ite import create

QUICK = {"epochs": 3, "batch_size": 16, "random_state": 0, "start_epoch": 0}
SYSTEMS = ["ols", "knn", "escfr"]


def quick(name: str, **params: Any) -> Any:
    known = create(name).get_params()
    return create(name, **{key: value for key, value in QUICK.items() if key in known}, **params)


@pytest.fixture
def frame(small: Any) -> pd.DataFrame:
    table = pd.DataFrame(small.X, columns=["age", "weight", "income", "score"])
    table["city"] = np.where(small.X[:, 2] > 0, "north", np.where(small.X[:, 3] > 0, "south", "east"))
    table["same"] = 7.0
    return table.assign(t=small.treatment, y=small.y)


def columns(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["t", "y"])


@pytest.mark.parametrize("name", SYSTEMS)
def test_labels_and_constant_columns_are_taken_as_they_are(name: str, frame: pd.DataFrame) -> None:
    X = columns(frame)
    model = quick(name).fit(X, frame["y"], treatment=frame["t"])
    assert np.isfinite(model.effect(X)).all()
    assert model.n_features_in_ == 6
    # the same columns by hand; a constant is no information, whatever it is
    by_hand = X.drop(columns="city").assign(
        **{label: (X["city"] == label).astype(float) for label in ("north", "south")}
    )
    other = quick(name).fit(by_hand, frame["y"], treatment=frame["t"])
    np.testing.assert_allclose(model.effect(X), other.effect(by_hand), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_missing_values_are_refused_by_default_and_taken_on_request(name: str, frame: pd.DataFrame) -> None:
    X = columns(frame)
    X.loc[3, "weight"] = np.nan
    X.loc[5, "city"] = None
    with pytest.raises(
        ValueError, match=r"2 values are missing in columns \['weight', 'city'\].*column 'weight', row 3"
    ):
        quick(name).fit(X, frame["y"], treatment=frame["t"])
    model = quick(name, missing="impute").fit(X, frame["y"], treatment=frame["t"])
    filled = X.fillna({"weight": X["weight"].median(), "city": "#"})
    np.testing.assert_array_equal(
        model.effect(X), quick(name).fit(filled, frame["y"], treatment=frame["t"]).effect(filled)
    )
    marked = quick(name, missing="indicator").fit(X, frame["y"], treatment=frame["t"])
    assert "weight=missing" in marked.covariates_.names
    assert np.isfinite(marked.effect(X)).all()


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(
    ("treatment", "error", "message"),
    [
        (lambda t: t + 1, ValueError, r"treatment: values must be 0 or 1; got 2 at position"),
        (lambda t: np.where(t, "yes", "no"), TypeError, "treatment must hold numbers"),
        (lambda t: np.where(t, 1.0, np.nan), ValueError, "treatment: values must be 0 or 1; got nan"),
        (lambda t: np.ones_like(t), ValueError, "at least 1 untreated.*without both groups there is no effect"),
        (lambda t: np.zeros_like(t), ValueError, "at least 1 treated"),
        (lambda t: t[:-1], ValueError, "treatment must have the length of X, 80; got 79"),
        (lambda t: t[:, None], ValueError, r"treatment must be 1-d"),
    ],
)
def test_a_treatment_that_cannot_be_used_is_refused(
    name: str, treatment: Any, error: type[Exception], message: str, small: Any
) -> None:
    with pytest.raises(error, match=message):
        quick(name).fit(small.X, small.y, treatment=treatment(small.treatment))


@pytest.mark.parametrize("kind", [bool, float, np.int8])
def test_a_treatment_of_another_type_means_the_same(kind: type, small: Any) -> None:
    effect = quick("ols").fit(**small.arguments).effect(small.X)
    np.testing.assert_array_equal(
        quick("ols").fit(small.X, small.y, treatment=small.treatment.astype(kind)).effect(small.X), effect
    )


def test_numbers_held_as_objects_and_16_bit_tensors_are_numbers(small: Any) -> None:
    expected = quick("ols").fit(**small.arguments).effect(small.X)
    objects = quick("ols").fit(small.X, small.y.astype(object), treatment=pd.Series(small.treatment).astype(object))
    np.testing.assert_array_equal(objects.effect(small.X), expected)
    short = torch.as_tensor(small.X).bfloat16()
    np.testing.assert_array_equal(
        quick("ols").fit(short, small.y, treatment=small.treatment).effect(short),
        quick("ols").fit(short.double(), small.y, treatment=small.treatment).effect(short.double()),
    )
    for y, got in ((None, "got NoneType"), ([None, *small.y[1:]], "got None at position 0")):
        with pytest.raises(TypeError, match=f"y must .*numbers; {got}"):
            quick("ols").fit(small.X, y, treatment=small.treatment)


def test_what_is_asked_after_the_fit_is_checked_too(small: Any) -> None:
    model = quick("escfr").fit(**small.arguments)
    with pytest.raises(ValueError, match=r"X must be a table of shape \(n, p\); got shape \(4,\)"):
        model.effect(small.X[0])
    with pytest.raises(ValueError, match="y must have the length of X, 80; got 5"):
        model.transport_plan(small.X, small.y[:5], treatment=small.treatment)
    with pytest.raises(ValueError, match=r"validation: X: .* values are missing"):
        quick("escfr").fit(**small.arguments, validation=(small.X * np.nan, small.y, small.treatment))
    with pytest.raises(TypeError, match="callbacks must be a sequence of Callback or of callables; got builtin"):
        quick("escfr").fit(**small.arguments, callbacks=print)
    with pytest.raises(ValueError, match="at least 4 treated unit"):
        quick("orthogonal-forest").fit(small.X[:6], small.y[:6], treatment=[1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: np.where(np.arange(len(y)) == 4, np.nan, y), "y: outcomes must be finite; got nan at position 4"),
        (lambda y: y[:10], "y must have the length of X, 80; got 10"),
        (lambda y: np.stack([y, y], 1), "y must be 1-d"),
    ],
)
def test_outcomes_that_cannot_be_used_are_refused(y: Any, message: str, small: Any) -> None:
    with pytest.raises(ValueError, match=message):
        quick("escfr").fit(small.X, y(small.y), treatment=small.treatment)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (lambda X: X[:, 0], ValueError, r"X must be a table of shape \(n, p\)"),
        (lambda X: X[:0], ValueError, "at least one row and one column; got 0 rows and 4 columns"),
        (
            lambda X: np.where(X[2, 1] == X, np.inf, X),
            ValueError,
            "column '1' must hold finite numbers; got inf in row 2",
        ),
        (lambda X: pd.DataFrame(X, columns=["a", "a", "b", "c"]), ValueError, "column names must differ"),
        (lambda X: np.where(np.arange(4) == 1, np.nan, X), ValueError, "80 values are missing"),
        (lambda X: None, TypeError, r"X must be a DataFrame or an array of shape \(n, p\); got NoneType"),
        (lambda X: "units.csv", TypeError, "X must be a DataFrame or an array.*got str"),
        (lambda X: {"a": X[:, 0]}, TypeError, "X must be a DataFrame or an array.*got dict"),
        (lambda X: csr_matrix(X), TypeError, r"got csr_matrix; X\.toarray\(\) makes an array of it"),
        (lambda X: X + 1j, TypeError, "X must hold numbers or labels; got dtype complex128"),
        (
            lambda X: pd.DataFrame({"day": pd.date_range("2020-01-01", periods=80)}),
            TypeError,
            r"column 'day' must hold numbers or labels; got dtype datetime64.*days since",
        ),
    ],
)
def test_covariates_that_cannot_be_used_are_refused(X: Any, error: type[Exception], message: str, small: Any) -> None:
    with pytest.raises(error, match=message):
        quick("ols").fit(X(small.X), small.y, treatment=small.treatment)


def test_a_column_without_any_value_is_refused_by_name(frame: pd.DataFrame) -> None:
    X = columns(frame).assign(income=np.nan)
    with pytest.raises(ValueError, match="column 'income' holds no value at all; leave it out"):
        quick("ols", missing="impute").fit(X, frame["y"], treatment=frame["t"])


def test_a_label_that_training_has_not_seen_is_refused(frame: pd.DataFrame) -> None:
    model = quick("ols").fit(columns(frame), frame["y"], treatment=frame["t"])
    other = columns(frame)
    other.loc[7, "city"] = "west"
    with pytest.raises(
        ValueError, match="column 'city' must hold labels known from fit, east, north, south; got 'west' in row 7"
    ):
        model.effect(other)


def test_one_unit_of_a_group_cannot_be_held_out(small: Any) -> None:
    treatment = np.zeros(80, dtype=int)
    treatment[5] = 1
    with pytest.raises(ValueError, match="at least 2 treated units, one to train on and one to hold out; got 1"):
        quick("escfr").fit(small.X, small.y, treatment=treatment)
    model = quick("escfr", selection=None).fit(small.X, small.y, treatment=treatment)
    assert np.isfinite(model.effect(small.X)).all()


def test_the_effect_on_the_treated_needs_a_treated_unit(small: Any) -> None:
    model = quick("ols").fit(**small.arguments)
    with pytest.raises(ValueError, match="must hold a treated unit"):
        model.att(small.X, np.zeros(80))
    with pytest.raises(ValueError, match="length of X, 80; got 3"):
        model.att(small.X, [0, 1, 0])


def test_outcomes_far_from_zero_and_large_ones_are_no_trouble(small: Any) -> None:
    far = create("tarnet", epochs=30, random_state=0, selection=None).fit(small.X, small.y, treatment=small.treatment)
    near = create("tarnet", epochs=30, random_state=0, selection=None)
    near.fit(small.X, small.y + 1e4, treatment=small.treatment)
    np.testing.assert_allclose(near.effect(small.X), far.effect(small.X), atol=2e-2)
    params = {"epochs": 30, "random_state": 0, "selection": None, "scale_outcome": True, "dtype": "float64"}
    one, thousand = (
        create("tarnet", **params).fit(small.X, factor * small.y, treatment=small.treatment).effect(small.X)
        for factor in (1.0, 1000.0)
    )
    np.testing.assert_allclose(thousand, 1000 * one, rtol=1e-6)


def test_a_constant_outcome_has_no_effect(small: Any) -> None:
    for params in ({}, {"scale_outcome": True}):
        model = create("tarnet", epochs=40, random_state=0, **params).fit(
            small.X, np.full(80, 5.0), treatment=small.treatment
        )
        assert float(model.ate(small.X)) == pytest.approx(0.0, abs=0.2)
