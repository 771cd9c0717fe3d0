"""``wbm_ext.load`` gives back a recommender as it was saved, or says why it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wbm_ext
from wbm_ext.datasets import Ratings, RatingsDataset, make_ratings
from wbm_ext.errors import BalanceWarning, FileFormatError
from wbm_ext.persistence import read_document, write_document
from wbm_ext.recommender import create


@pytest.fixture(scope="module")
def tiny() -> RatingsDataset:
    return make_ratings(20, 25, density=0.2, test_per_user=5, random_state=0)


def fitted(name: str, data: Ratings, **params: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BalanceWarning)
        return create(name, epochs=2, batch_size=64, random_state=0, **params).fit(data)


@pytest.mark.parametrize("name", ["naive", "as-ips", "dr-jl", "dr-wbm"])
def test_a_saved_system_answers_as_before(name: str, tiny: RatingsDataset, tmp_path: Path) -> None:
    model = fitted(name, tiny.train, embedding_dim=3)
    model.save(tmp_path / "m")
    loaded = wbm_ext.load(tmp_path / "m")
    assert type(loaded) is type(model)
    assert loaded.get_params() == model.get_params()
    users, items = tiny.test.users, tiny.test.items
    for question in ("predict", "propensity", "embed"):
        np.testing.assert_array_equal(getattr(loaded, question)(users, items), getattr(model, question)(users, items))
    for left, right in zip(loaded.recommend(3, 5), model.recommend(3, 5), strict=True):
        np.testing.assert_array_equal(left, right)
    assert loaded.score(tiny.test) == model.score(tiny.test)
    for record, expected in zip(loaded.history_.records, model.history_.records, strict=True):
        assert record == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert {key for key in vars(loaded) if key.endswith("_")} == {key for key in vars(model) if key.endswith("_")}
    # what was loaded can be saved and fitted again
    loaded.save(tmp_path / "again")
    assert torch.equal(next(loaded.fit(tiny.train).model_.parameters()), next(model.model_.parameters()))


def test_a_file_of_another_machine_goes_to_a_device_that_is_here(tiny: RatingsDataset, tmp_path: Path) -> None:
    model = fitted("ips", tiny.train)
    model.device = "cuda:63"  # where it might have been fitted
    model.save(tmp_path / "m")
    assert wbm_ext.load(tmp_path / "m").device == "cpu"
    moved = wbm_ext.load(tmp_path / "m", map_location="meta")
    assert moved.device == "meta"
    assert {p.device.type for p in (*moved.model_.parameters(), *moved.propensity_model_.parameters())} == {"meta"}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_goes_to_the_gpu_and_back(tiny: RatingsDataset, tmp_path: Path) -> None:
    model = fitted("ips-wbm", tiny.train)
    model.save(tmp_path / "m")
    there = wbm_ext.load(tmp_path / "m", map_location="cuda")
    users, items = tiny.test.users, tiny.test.items
    np.testing.assert_allclose(there.predict(users, items), model.predict(users, items), rtol=1e-5)
    there.save(tmp_path / "back")
    np.testing.assert_array_equal(
        wbm_ext.load(tmp_path / "back", map_location="cpu").predict(users, items), model.predict(users, items)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "ips-vbm"}, "saved by another version of wbm_ext: .*did you mean 'ips-wbm'"),
        ({"params": {"embeding_dim": 3}}, "saved by another version of wbm_ext: .*did you mean 'embedding_dim'"),
        ({"room": "os"}, "holds a model of 'os'; this wbm_ext has 'recommender', 'ite'"),
    ],
)
def test_what_this_version_lacks_is_named(
    changes: dict[str, Any], message: str, tiny: RatingsDataset, tmp_path: Path
) -> None:
    fitted("naive", tiny.train).save(tmp_path / "m")
    content = {**read_document(tmp_path / "m", "model", 1), **changes}
    write_document(tmp_path / "m", "model", 1, content)
    with pytest.raises(FileFormatError, match=message):
        wbm_ext.load(tmp_path / "m")
