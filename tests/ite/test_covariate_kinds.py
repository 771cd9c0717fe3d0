"""What counts as a number, a label or neither among covariates, however a table gives it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from wbm_ext.errors import DataWarning
from wbm_ext.ite import create
from wbm_ext.ite.covariates import Covariates

RNG = np.random.default_rng(0)
GROUP = np.tile([1, 2, 3], 100)
EFFECT = {1: -5.0, 2: 9.0, 3: 0.0}  # of the group on the outcome: far from linear in its number
T = RNG.integers(0, 2, 300)
Y = np.array([EFFECT[group] for group in GROUP]) + 2.0 * T
OTHER = RNG.normal(size=300)

KINDS = {
    "integers": lambda values: values,
    "floats": lambda values: values.astype(float),
    "text": lambda values: values.astype(str),
    "text of floats": lambda values: values.astype(float).astype(str),
    "a category of integers": pd.Categorical,
    "a category of floats": lambda values: pd.Categorical(values.astype(float)),
    "a category of text": lambda values: pd.Categorical(values.astype(str)),
    "objects": lambda values: values.astype(object),
    "nullable integers": lambda values: pd.array(values, dtype="Int64"),
}


def table(kind: str) -> pd.DataFrame:
    return pd.DataFrame({"group": KINDS[kind](GROUP), "other": OTHER})


@pytest.mark.parametrize("later", KINDS)
@pytest.mark.parametrize("first", ["a category of integers", "a category of floats", "a category of text", "text"])
def test_a_category_stays_a_label_however_it_is_given_later(first: str, later: str) -> None:
    model = create("ols").fit(table(first), Y, treatment=T)
    assert model.score(table(later), Y, treatment=T) == pytest.approx(1)
    np.testing.assert_allclose(model.predict_outcomes(table(later)), model.predict_outcomes(table(first)))


@pytest.mark.parametrize("later", KINDS)
def test_a_number_stays_a_number_however_it_is_given_later(later: str) -> None:
    model = create("ols").fit(table("integers"), Y, treatment=T)
    assert model.covariates_.label_columns == []
    np.testing.assert_allclose(model.predict_outcomes(table(later)), model.predict_outcomes(table("integers")))


def test_a_category_of_booleans_is_one_of_labels() -> None:
    frame = pd.DataFrame({"flag": pd.Categorical([True, False, True, False])})
    covariates = Covariates()
    covariates.fit_transform(frame)
    assert covariates.names == ["flag=True"]
    np.testing.assert_array_equal(covariates.transform(pd.DataFrame({"flag": [True, False]})), [[1], [0]])


@pytest.mark.parametrize("cell", ["1,5", "?", "-", "n.a."])
def test_one_bad_cell_is_an_error_that_names_row_column_and_cell(cell: str) -> None:
    column = OTHER.astype(object)
    column[17] = cell
    for given in (column, [str(value) for value in column]):
        with pytest.raises(
            ValueError, match=rf"column 'x' holds numbers but for 1 of 300 cells, the first '[{cell}]+' in row 17"
        ):
            create("ols").fit(pd.DataFrame({"x": given}), Y, treatment=T)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([f"unit {k}" for k in range(300)], "holds 300 different labels in 300 rows"),
        ([f"{k % 200:03d}a" for k in range(300)], "holds 200 different labels in 300 rows"),
        ([f"2021-03-{1 + k % 28:02d}" for k in range(300)], "holds dates, e.g. '2021-03-01'"),
        ([f"{1 + k % 28}/3/2021" for k in range(300)], "holds dates"),
    ],
)
def test_names_and_dates_are_no_covariates_unless_they_are_meant(column: list[str], message: str) -> None:
    frame = pd.DataFrame({"id": column, "other": OTHER})
    with pytest.raises(ValueError, match=message + r".*leave it out \(--leave-out\), or name it in categorical"):
        create("ols").fit(frame, Y, treatment=T)
    # the way out exists
    assert Covariates(categorical=["id"]).fit_transform(frame).shape[0] == 300


def test_a_column_that_numbers_the_rows_is_told() -> None:
    with pytest.warns(DataWarning, match=r"column 'id' numbers the rows; leave it out \(--leave-out id\)"):
        Covariates().fit_transform(pd.DataFrame({"id": np.arange(300), "other": OTHER}))


def test_more_columns_than_rows_are_told() -> None:
    with pytest.warns(DataWarning, match="X has 30 columns .* for 20 units"):
        Covariates().fit_transform(RNG.normal(size=(20, 30)))
