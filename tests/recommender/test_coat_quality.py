"""The real Coat ratings, default parameters: what the systems must reach on the unbiased test pairs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wbm_ext.datasets import RatingsDataset, load_coat
from wbm_ext.recommender import create, systems


@pytest.fixture(scope="module")
def coat() -> RatingsDataset:
    folder = os.environ.get("WBM_DATA")
    if folder is None:
        pytest.skip("WBM_DATA is not set")
    return load_coat(Path(folder) / "coat")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", systems())
def test_auc_on_coat(name: str, coat: RatingsDataset) -> None:
    model = create(name, random_state=0).fit(coat.train)
    assert model.score(coat.test) > 0.68
