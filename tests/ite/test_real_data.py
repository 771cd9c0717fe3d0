"""Treatment-effect systems on IHDP and ACIC 2016, where WBM_DATA names the folder of the data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from wbm_ext.datasets import load_acic2016, load_ihdp
from wbm_ext.ite import create
from wbm_ext.metrics import pehe

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def folder() -> Path:
    parent = os.environ.get("WBM_DATA")
    if parent is None:
        pytest.skip("WBM_DATA is not set")
    return Path(parent)


def test_labels_of_acic_are_encoded_as_the_reader_encodes_them(folder: Path) -> None:
    data = load_acic2016(folder / "acic2016", 1)
    model = create("ols", preset="paper").fit(data.frame(), data.y, treatment=data.treatment)  # nothing standardised
    encoded, names = data.encoded()
    matrix = model.covariates_.transform(data.frame())
    assert matrix.shape == encoded.shape == (4802, 79)
    ours = [name.replace("=", " ") for name in model.covariates_.names]
    np.testing.assert_array_equal(matrix, encoded[:, [[n.replace("=", " ") for n in names].index(n) for n in ours]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tarnet", "cfr-wass", "escfr"])
def test_networks_beat_the_best_constant_on_ihdp(name: str, folder: Path) -> None:
    data = load_ihdp(folder / "ihdp", 1)
    train, judges, test = data.split(random_state=0)
    model = create(name, selection="factual", epochs=100, min_epochs=50, random_state=0)
    model.fit(train.X, train.y, treatment=train.treatment, validation=(judges.X, judges.y, judges.treatment))
    assert pehe(test.effect(), model.effect(test.X)) < 0.8 * test.effect().std()
