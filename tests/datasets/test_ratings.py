"""Ratings: what is taken, what is refused and how, splits and membership."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from wbm_ext.datasets import Ratings, overlap
from wbm_ext.errors import UnknownNameError

USERS, ITEMS, VALUES = [0, 0, 2, 1], [3, 1, 0, 3], [5.0, 1.0, 3.0, 2.0]


@pytest.fixture
def many() -> Ratings:
    rng = np.random.default_rng(1)
    keys = rng.permutation(50 * 40)[:600]
    return Ratings(keys // 40, keys % 40, rng.integers(1, 6, 600), 50, 40, scale=(1, 5))


@pytest.mark.parametrize(
    "convert",
    [list, np.array, torch.tensor, lambda values: torch.tensor(values).numpy()[::-1][::-1]],
    ids=["list", "numpy", "torch", "view"],
)
def test_every_kind_of_array_gives_the_same_ratings(convert) -> None:
    ratings = Ratings(convert(USERS), convert(ITEMS), convert(VALUES))
    assert (ratings.users.dtype, ratings.items.dtype) == (np.int64, np.int64)
    assert ratings.ratings.dtype == np.float32
    assert ratings.users.tolist() == USERS
    assert ratings.items.tolist() == ITEMS
    assert ratings.ratings.tolist() == VALUES
    assert (ratings.n_users, ratings.n_items, len(ratings)) == (3, 4, 4)
    assert ratings.density == 4 / 12


def test_a_tensor_that_requires_grad_is_taken() -> None:
    values = torch.tensor(VALUES, requires_grad=True)
    assert Ratings(USERS, ITEMS, values).ratings.tolist() == VALUES


def test_later_changes_to_the_input_do_not_reach_the_object() -> None:
    users = np.array(USERS)
    ratings = Ratings(users, ITEMS, VALUES)
    users[0] = 99
    assert ratings.users[0] == 0


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"users": [0, 0, 2]}, ValueError, r"items must have the length of users, 3; got 4"),
        ({"ratings": [1.0]}, ValueError, r"ratings must have the length of users, 4; got 1"),
        ({"users": [[0, 0], [2, 1]]}, ValueError, r"users must be 1-d, shape \(n,\); got shape \(2, 2\)"),
        ({"users": [0.0, 0.0, 2.0, 1.0]}, TypeError, r"users must hold integer ids .*got dtype float64"),
        ({"items": ["a", "b", "c", "d"]}, TypeError, r"items must hold numbers; got dtype <U1 .*read_ratings\(table"),
        ({"ratings": [5, None, 1, 3]}, TypeError, r"ratings must hold numbers; got None at position 1"),
        ({"items": [3, [1], 0, 3]}, TypeError, r"items must be an array, a list or a tensor .*got list"),
        ({"users": [0, 0, -2, 1]}, ValueError, r"users: ids must be non-negative; got -2 at position 2"),
        ({"n_items": 3}, ValueError, r"items: ids must be in \[0, 3\); got 3 at position 0"),
        ({"n_users": 0}, ValueError, r"n_users must be an integer of at least 1; got 0"),
        ({"n_users": 2.5}, TypeError, r"n_users must be an integer of at least 1; got 2\.5"),
        ({"ratings": [5, 1, np.nan, np.inf]}, ValueError, r"ratings must be finite.*got nan at position 2"),
        ({"ratings": [5, 1e300, 1, 1]}, ValueError, r"finite float32 numbers; got 1e\+300 at position 1"),
        ({"users": [0, 2, 2, 2], "items": [3, 1, 0, 1]}, ValueError, r"user 2, item 1.*position 3"),
        ({"scale": (2, 5)}, ValueError, r"ratings out of range \[2, 5\] \(scale\); got 1\.0 at position 1"),
        ({"scale": (5, 1)}, ValueError, r"scale must be a pair with low <= high; got \(5, 1\)"),
        ({"scale": 5}, TypeError, r"scale must be a pair \(low, high\); got 5"),
        ({"n_users": 2**40, "n_items": 2**40}, ValueError, r"n_users \* n_items must stay below 2\*\*63"),
    ],
)
def test_bad_input_names_argument_expected_and_got(changes, error, text) -> None:
    arguments = {"users": USERS, "items": ITEMS, "ratings": VALUES} | changes
    with pytest.raises(error, match=text):
        Ratings(**arguments)


def test_empty_ratings_need_their_sizes() -> None:
    empty = Ratings([], [], [], 3, 4)
    assert (len(empty), empty.density) == (0, 0.0)
    with pytest.raises(ValueError, match="n_users must be given when users is empty"):
        Ratings([], [], [])


@pytest.mark.parametrize("missing", [0, -1, float("nan")])
def test_from_matrix_keeps_all_but_the_missing(missing) -> None:
    matrix = np.array([[5, missing, 1], [missing, missing, 2]])
    ratings = Ratings.from_matrix(matrix, missing)
    assert ratings.users.tolist() == [0, 0, 1]
    assert ratings.items.tolist() == [0, 2, 2]
    assert ratings.ratings.tolist() == [5, 1, 2]
    assert (ratings.n_users, ratings.n_items) == (2, 3)


def test_from_matrix_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match=r"matrix must be 2-d.*got shape \(3,\)"):
        Ratings.from_matrix([1, 2, 3])


@pytest.mark.parametrize("table", [pd.DataFrame, dict], ids=["pandas", "dict"])
def test_from_frame_reads_the_named_columns(table) -> None:
    frame = table({"uid": USERS, "iid": ITEMS, "stars": VALUES})
    ratings = Ratings.from_frame(frame, "uid", "iid", "stars", n_items=9, scale=(1, 5))
    assert ratings.users.tolist() == USERS
    assert ratings.ratings.tolist() == VALUES
    assert ratings.n_items == 9


def test_from_frame_names_the_nearest_column() -> None:
    frame = pd.DataFrame({"user": USERS, "item_id": ITEMS, "rating": VALUES})
    with pytest.raises(UnknownNameError, match=r"column item='item' does not exist; did you mean 'item_id'"):
        Ratings.from_frame(frame)


def test_from_frame_refuses_names_as_ids() -> None:
    frame = pd.DataFrame({"user": ["ann", "bob"], "item": [0, 1], "rating": [1, 2]})
    with pytest.raises(TypeError, match="users must hold numbers"):
        Ratings.from_frame(frame)


def test_binarize_counts_the_threshold_as_positive() -> None:
    labels = Ratings(USERS, ITEMS, VALUES).binarize(3)
    assert labels.dtype == np.float32
    assert labels.tolist() == [1, 0, 1, 0]
    assert Ratings([0], [0], [0.1]).binarize(0.1).tolist() == [1]  # in the precision of the ratings
    with pytest.raises(ValueError, match="threshold must be a finite number"):
        Ratings(USERS, ITEMS, VALUES).binarize(float("nan"))


def test_observed_keys_are_sorted_and_find_every_pair(many: Ratings) -> None:
    keys = many.observed_keys()
    assert keys.dtype == np.int64
    assert (np.diff(keys) > 0).all()
    assert set(keys.tolist()) == {
        user * 40 + item for user, item in zip(many.users.tolist(), many.items.tolist(), strict=True)
    }


def test_split_is_a_partition_and_follows_the_seed(many: Ratings) -> None:
    first, rest = many.split(0.3, 7)
    assert (len(first), len(rest)) == (180, 420)
    assert not overlap(first, rest).any()
    both = np.sort(np.concatenate([first.observed_keys(), rest.observed_keys()]))
    assert np.array_equal(both, many.observed_keys())
    assert (first.n_users, first.n_items, rest.scale) == (50, 40, (1, 5))
    assert np.array_equal(first.users, many.split(0.3, 7)[0].users)
    assert not np.array_equal(first.users, many.split(0.3, 8)[0].users)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.0001, -0.1, 1.5, float("nan")])
def test_split_refuses_fractions_that_leave_a_part_empty(many: Ratings, fraction) -> None:
    with pytest.raises(ValueError, match="fraction must"):
        many.split(fraction, 0)


def test_subset_by_mask_and_by_position_agree(many: Ratings) -> None:
    mask = many.ratings >= 4
    by_mask, by_position = many.subset(mask), many.subset(np.flatnonzero(mask))
    assert np.array_equal(by_mask.items, by_position.items)
    assert (by_mask.ratings >= 4).all()
    assert len(by_mask) == mask.sum()
    assert (by_mask.n_users, by_mask.n_items) == (50, 40)
    assert len(many.subset([])) == 0


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ([True, False], "a mask must have length 600; got 2"),
        ([0, 600], r"index: ids must be in \[0, 600\); got 600 at position 1"),
        ([3, 3], "each pair must occur once"),
    ],
)
def test_subset_refuses(many: Ratings, index, text) -> None:
    with pytest.raises(ValueError, match=text):
        many.subset(index)


def test_overlap_marks_the_shared_pairs() -> None:
    train = Ratings([0, 1, 1], [0, 1, 2], [1, 2, 3], 2, 3)
    test = Ratings([1, 0, 1], [2, 1, 1], [3, 3, 3], 2, 3)
    assert overlap(train, test).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="test must have the pairs of train, 2 x 3; got 2 x 4"):
        overlap(train, Ratings([0], [0], [1], 2, 4))
