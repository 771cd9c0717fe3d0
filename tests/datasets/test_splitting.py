"""Rows for training and for test: at random, by time, one of each user; and the command that writes them."""

from __future__ import annotations

import numpy as np
import pytest

from wbm_ext.datasets.splitting import split_rows


def test_a_ratio_takes_its_share_at_random_and_repeats_by_seed() -> None:
    test = split_rows(1000, ratio=0.3, random_state=0)
    assert test.sum() == 300
    np.testing.assert_array_equal(test, split_rows(1000, ratio=0.3, random_state=0))
    assert (test != split_rows(1000, ratio=0.3, random_state=1)).any()


def test_by_time_no_test_row_is_earlier_than_a_training_row() -> None:
    times = np.random.default_rng(0).integers(0, 50, 400)
    test = split_rows(400, ratio=0.25, times=times)
    assert test.sum() == 100
    assert times[test].min() >= times[~test].max()


def test_one_row_of_each_user_is_left_out_if_another_stays() -> None:
    rng = np.random.default_rng(0)
    users, times = np.append(99, np.tile(np.arange(23), 13)), rng.permutation(300)
    users[1:] = rng.permutation(users[1:])
    assert users[0] == 99  # a user of one row
    for given in (None, times):
        test = split_rows(300, ratio=None, users=users, times=given, random_state=0)
        counts = {user: int(test[users == user].sum()) for user in set(users.tolist())}
        assert counts.pop(99) == 0
        assert set(counts.values()) == {1}
    latest = {user: times[users == user].max() for user in set(users[test].tolist())}
    assert all(times[row] == latest[users[row]] for row in np.flatnonzero(test))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "both parts must get a row; got 0 of 10"),
        ({"ratio": 1.0}, "got 10 of 10"),
        ({"ratio": 1.5}, r"ratio must be a finite number in \[0, 1\]"),
        ({"ratio": None}, "users must be given"),
        ({"times": [1, 2]}, "times must have the length of rows, 10; got 2"),
        ({"ratio": None, "users": list("abcdefghij")}, "got 0 of 10 for test"),
    ],
)
def test_splits_that_cannot_be(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        split_rows(10, **options)
