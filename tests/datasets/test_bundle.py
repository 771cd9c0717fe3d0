"""RatingsDataset: parts that must fit together, features of pairs, description, loading by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from wbm_ext.datasets import Ratings, RatingsDataset, load
from wbm_ext.errors import DatasetError, UnknownNameError

TRAIN = Ratings([0, 1], [2, 0], [5, 1], 2, 3)
TEST = Ratings([0, 1], [1, 0], [4, 1], 2, 3)


def test_pair_features_are_user_then_item() -> None:
    data = RatingsDataset("toy", TRAIN, TEST, user_features=[[1, 0], [0, 1]], item_features=[[7], [8], [9]])
    features = data.pair_features([1, 0, 1], [0, 2, 1])
    assert features.dtype == np.float32
    assert features.tolist() == [[0, 1, 7], [1, 0, 9], [0, 1, 8]]


def test_pair_features_say_what_is_absent_or_wrong() -> None:
    bare = RatingsDataset("toy", TRAIN, TEST, user_features=np.eye(2))
    with pytest.raises(DatasetError, match="got None for item_features of data set 'toy'"):
        bare.pair_features([0], [0])
    full = RatingsDataset("toy", TRAIN, TEST, user_features=np.eye(2), item_features=np.eye(3))
    with pytest.raises(ValueError, match=r"items: ids must be in \[0, 3\); got 3 at position 1"):
        full.pair_features([0, 1], [0, 3])
    with pytest.raises(ValueError, match="items must have the length of users, 2; got 1"):
        full.pair_features([0, 1], [0])


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("user_features", np.ones((3, 2)), r"user_features must have shape \(2, any\); got \(3, 2\)"),
        ("item_features", [1.0, 2.0, 3.0], r"item_features must have shape \(3, any\); got \(3,\)"),
        ("item_features", [[1], [np.nan], [1]], r"item_features: values must be finite; got nan"),
        ("propensities", np.ones((2, 2)), r"propensities must have shape \(2, 3\); got \(2, 2\)"),
        ("propensities", np.zeros((2, 3)), r"must be in \(0, 1\]; got 0\.0 at position \(0, 0\)"),
        ("truth", np.ones((3, 2)), r"truth must have shape \(2, 3\); got \(3, 2\)"),
        ("test", Ratings([0], [0], [1], 2, 4), "test must have the pairs of train, 2 x 3; got 2 x 4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, value, text) -> None:
    with pytest.raises(ValueError, match=text):
        RatingsDataset(**{"name": "toy", "train": TRAIN, "test": TEST, part: value})


def test_train_must_be_ratings() -> None:
    with pytest.raises(TypeError, match="train must be Ratings; got list"):
        RatingsDataset("toy", [[1]], TEST)


def test_describe_holds_the_numbers_and_the_licence() -> None:
    text = RatingsDataset("toy", TRAIN, TEST, threshold=4, licence="free", source="here").describe()
    assert text.splitlines() == [
        "toy: 2 users x 3 items",
        "  train 2 ratings, density 33.333%, P(rating >= 4) 0.500",
        "  test  2 ratings, density 33.333%, P(rating >= 4) 0.500",
        "  overlap 1 test pairs also in train",
        "  user_features: none",
        "  item_features: none",
        "  propensities: none",
        "  truth: none",
        "  licence: free",
        "  source: here",
    ]


def test_load_by_name() -> None:
    data = load("synthetic", n_users=20, n_items=30, density=0.1)
    assert (data.name, data.n_users, data.n_items) == ("synthetic", 20, 30)
    with pytest.raises(UnknownNameError, match="name='coats' does not exist; did you mean 'coat'"):
        load("coats")
    with pytest.raises(ValueError, match=r"root must be None for 'synthetic'.*got 'somewhere'"):
        load("synthetic", "somewhere")


def test_import_loads_neither_pandas_nor_sklearn() -> None:
    code = (
        "import sys, wbm_ext.datasets, wbm_ext.metrics\n"
        "found = {'pandas', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
