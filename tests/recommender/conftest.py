"""A small data set that every system fits in well under a second."""

from __future__ import annotations

import pytest

from wbm_ext.datasets import RatingsDataset, make_ratings


@pytest.fixture(scope="session")
def tiny() -> RatingsDataset:
    return make_ratings(40, 50, density=0.2, test_per_user=10, random_state=0)
