"""Treatments: what is taken, what is refused and how, the truth, splits, categorical columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from wbm_ext.datasets import Treatments
from wbm_ext.errors import DatasetError, UnknownNameError

X, T, Y = [[1.0, 0.0], [2.0, 2.0], [3.0, 1.0]], [1, 0, 1], [5.0, 1.0, 2.0]
MU0, MU1 = [1.0, 1.0, 1.0], [4.0, 1.5, 2.0]


@pytest.fixture
def many() -> Treatments:
    rng = np.random.default_rng(0)
    n = 747
    treatment = np.arange(n) < 139
    return Treatments(
        rng.normal(size=(n, 3)), rng.permutation(treatment), rng.normal(size=n), hidden=np.arange(n)[:, None]
    )


@pytest.mark.parametrize("convert", [list, np.array, torch.tensor], ids=["list", "numpy", "torch"])
def test_every_kind_of_array_gives_the_same_data(convert) -> None:
    data = Treatments(convert(X), convert(T), convert(Y), mu0=convert(MU0), mu1=convert(MU1))
    assert (data.X.dtype, data.treatment.dtype, data.y.dtype) == (np.float64, np.int64, np.float64)
    assert data.X.tolist() == X
    assert data.treatment.tolist() == T
    assert (len(data), data.names) == (3, ("x1", "x2"))
    assert repr(data) == "Treatments('treatments', n=3, p=2, treated=2)"


def test_effects_by_hand() -> None:
    data = Treatments(X, T, Y, mu0=MU0, mu1=MU1)
    assert data.effect().tolist() == [3.0, 0.5, 1.0]
    assert (data.ate(), data.att()) == (1.5, 2.0)


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(DatasetError, match="the true effect needs mu0 and mu1; got None for both in data set 'own'"):
        Treatments(X, T, Y, name="own").ate()
    with pytest.raises(DatasetError, match="needs a treated unit"):
        Treatments(X, [0, 0, 0], Y, mu0=MU0, mu1=MU1).att()


def test_later_changes_to_the_input_do_not_reach_the_object() -> None:
    source = np.array(X)
    data = Treatments(source, T, Y)
    source[0, 0] = 99
    assert data.X[0, 0] == 1


def test_subset_takes_every_field_along() -> None:
    data = Treatments(
        X, T, Y, mu0=MU0, mu1=MU1, y_cf=Y, propensities=[0.1, 0.2, 0.3], hidden=[[7], [8], [9]], outliers=[0, 0, 1]
    )
    part = data.subset([2, 0])
    assert (part.y.tolist(), part.hidden.ravel().tolist()) == ([2.0, 5.0], [9, 7])
    assert (part.propensities.tolist(), part.outliers.tolist()) == ([0.3, 0.1], [True, False])
    assert part.effect().tolist() == [1.0, 3.0]
    by_mask = data.subset(np.array([True, False, True]))
    assert by_mask.y_cf.tolist() == [5.0, 2.0]


def test_split_is_a_partition_stratified_and_follows_the_seed(many: Treatments) -> None:
    parts = many.split(random_state=3)
    assert [len(part) for part in parts] == [523, 112, 112]
    assert [int(part.treatment.sum()) for part in parts] == [97, 21, 21]
    ids = np.concatenate([part.hidden.ravel() for part in parts])
    assert np.array_equal(np.sort(ids), np.arange(747))
    assert np.array_equal(parts[0].hidden, many.split(random_state=3)[0].hidden)
    assert not np.array_equal(parts[0].hidden, many.split(random_state=4)[0].hidden)
    assert all((np.diff(part.hidden.ravel()) > 0).all() for part in parts)


def test_split_without_strata_draws_the_treated_as_they_come(many: Treatments) -> None:
    counts = {int(many.split((0.5, 0.5), seed, stratify=False)[0].treatment.sum()) for seed in range(20)}
    assert len(counts) > 5
    stratified = {int(many.split((0.5, 0.5), seed)[0].treatment.sum()) for seed in range(20)}
    assert stratified <= {69, 70}


@pytest.mark.parametrize(
    ("fractions", "text"),
    [
        ((0.5, 0.4), r"positive and sum to 1; got \(0\.5, 0\.4\)"),
        ((1.0, 0.0), "positive and sum to 1"),
        ((), "positive and sum to 1"),
        ((0.999, 0.001), r"an entry in each part; got sizes \[3, 0\] of 3"),
        ((1.5, -0.5), r"fractions\[0\] must be a finite number in \[0, 1\]; got 1\.5"),
    ],
)
def test_split_refuses(fractions, text) -> None:
    with pytest.raises(ValueError, match=text):
        Treatments(X, T, Y).split(fractions, 0)


def test_one_fraction_is_not_a_split() -> None:
    with pytest.raises(TypeError, match=r"fractions must be a sequence of numbers that sum to 1; got 0\.7"):
        Treatments(X, T, Y).split(0.7, 0)


def test_categorical_columns_are_coded_and_shown() -> None:
    data = Treatments(X, T, Y, names=["age", "kind"], categories={"kind": ["a", "b", "c"]})
    matrix, names = data.encoded()
    assert names == ("age", "kind=b", "kind=c")
    assert matrix.tolist() == [[1, 0, 0], [2, 0, 1], [3, 1, 0]]
    matrix, names = data.encoded(drop_first=False)
    assert (names, matrix[:, 1].tolist()) == (("age", "kind=a", "kind=b", "kind=c"), [1, 0, 0])
    frame = data.frame()
    assert isinstance(frame["kind"].dtype, pd.CategoricalDtype)
    assert frame["kind"].tolist() == ["a", "c", "b"]
    assert frame["age"].tolist() == [1, 2, 3]


def test_describe_holds_the_numbers_and_the_licence() -> None:
    text = Treatments(X, T, Y, mu0=MU0, mu1=MU1, name="own", licence="free", source="here").describe()
    assert text.splitlines() == [
        "own: 3 units x 2 covariates",
        "  treated 2, share 0.667",
        "  y mean 2.667, sd 1.700",
        "  true effect: ATE 1.500, ATT 2.000, sd 1.080",
        "  categorical: none",
        "  licence: free",
        "  source: here",
    ]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"X": [1.0, 2.0, 3.0]}, ValueError, r"X must have shape \(n, p\).*got \(3,\)"),
        ({"X": np.zeros((3, 0))}, ValueError, r"X must have shape \(n, p\).*got \(3, 0\)"),
        ({"X": [[1.0], [np.nan], [2.0]]}, ValueError, r"X: values must be finite; got nan at position \(1, 0\)"),
        ({"treatment": [1, 2, 0]}, ValueError, "treatment: values must be 0 or 1; got 2 at position 1"),
        ({"treatment": [1, 0]}, ValueError, "treatment must have the length of X, 3; got 2"),
        ({"y": [1, 2, np.inf]}, ValueError, "y: values must be finite; got inf at position 2"),
        ({"y": ["a", "b", "c"]}, TypeError, "y must hold numbers"),
        ({"mu0": MU0}, ValueError, "mu0 and mu1 must both be given"),
        ({"propensities": [0.5, 0, 0.5]}, ValueError, r"propensities must be in \(0, 1\]; got 0"),
        ({"names": ["a"]}, ValueError, "names must hold a name a column of X, 2; got 1"),
        ({"names": ["a", "a"]}, ValueError, "names must differ; got 'a' twice"),
        ({"categories": {"x3": "ab"}}, UnknownNameError, "categories='x3' does not exist"),
        ({"categories": {"x2": "ab"}}, ValueError, r"X, column 'x2': .* codes 0\.\.1; got 2\.0 at position 1"),
    ],
)
def test_bad_input_names_argument_expected_and_got(changes, error, text) -> None:
    with pytest.raises(error, match=text):
        Treatments(**({"X": X, "treatment": T, "y": Y} | changes))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ([True], "a mask must have length 3; got 1"),
        ([0, 3], r"ids must be in \[0, 3\); got 3 at position 1"),
        ([1, 1], "each unit may be named once"),
    ],
)
def test_subset_refuses(index, text) -> None:
    with pytest.raises(ValueError, match=text):
        Treatments(X, T, Y).subset(index)
