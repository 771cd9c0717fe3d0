"""A fit that is broken off goes on where it was; a fitted system goes to a file and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

import wbm_ext
from wbm_ext.errors import FileFormatError
from wbm_ext.ite import create
from wbm_ext.training import Callback

QUICK: dict[str, Any] = {"epochs": 6, "batch_size": 16, "random_state": 0}
NEURAL = ["s-learner", "t-learner", "tarnet", "bnn", "cfr-mmd", "cfr-wass", "escfr", "drcfr", "mim-drcfr"]


def quick(name: str, **params: Any) -> Any:
    start = {"start_epoch": 2} if "start_epoch" in create(name).get_params() else {}
    return create(name, **{**QUICK, **start, **params})


class Break(Callback):
    """Ends the process, as it were, within epoch 5."""

    def on_epoch_start(self, epoch: int) -> None:
        if epoch == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["escfr", "mim-drcfr", "tarnet"])
def test_a_resumed_fit_ends_bit_for_bit_where_it_would_have_ended(name: str, small: Any, tmp_path: Path) -> None:
    whole = quick(name).fit(**small.arguments)
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        quick(name).fit(**small.arguments, checkpoint=path, callbacks=[Break()])
    resumed = quick(name).fit(**small.arguments, checkpoint=path, resume=True, log=tmp_path / "log.jsonl")
    for key, value in whole.model_.state_dict().items():
        assert torch.equal(value, resumed.model_.state_dict()[key])
    assert resumed.history_.records == whole.history_.records
    np.testing.assert_array_equal(resumed.effect(small.X), whole.effect(small.X))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6


def test_a_checkpoint_of_other_data_or_parameters_is_refused(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    quick("escfr").fit(**small.arguments, checkpoint=path)
    with pytest.raises(ValueError, match="kappa"):
        quick("escfr", kappa=2.0).fit(**small.arguments, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="data"):
        quick("escfr").fit(small.X, small.y + 1, treatment=small.treatment, checkpoint=path, resume=True)
    longer = quick("escfr", epochs=8).fit(**small.arguments, checkpoint=path, resume=True)
    assert len(longer.history_) == 8
    np.testing.assert_array_equal(
        longer.effect(small.X), quick("escfr", epochs=8).fit(**small.arguments).effect(small.X)
    )


@pytest.mark.parametrize("name", NEURAL)
def test_a_saved_system_answers_as_before(name: str, small: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(small.X, columns=list("abcd")).assign(city=np.where(small.X[:, 0] > 0, "north", "south"))
    model = quick(name, epochs=2, scale="standard").fit(frame, small.y, treatment=small.treatment)
    model.save(tmp_path / "model.pt")
    loaded = wbm_ext.load(tmp_path / "model.pt")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict_outcomes(frame), model.predict_outcomes(frame))
    assert loaded.history_.records == model.history_.records
    assert list(loaded.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="must hold labels known from fit, north, south"):
        loaded.effect(frame.assign(city="west"))
    with pytest.raises(ValueError, match="feature names"):
        loaded.effect(frame.rename(columns={"a": "z"}))


def test_the_refits_of_a_bootstrap_are_saved_too(small: Any, tmp_path: Path) -> None:
    model = quick("tarnet", epochs=1, n_bootstrap=3).fit(**small.arguments)
    model.save(tmp_path / "model.pt")
    assert wbm_ext.load(tmp_path / "model.pt").ate(small.X) == model.ate(small.X)


def test_a_file_without_a_learnt_value_is_refused(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    quick("escfr", epochs=1).fit(**small.arguments).save(path)
    document = torch.load(path, weights_only=True)
    del document["state"]["replicates_"]
    torch.save(document, path)
    with pytest.raises(FileFormatError, match=r"is damaged: its state is not that of the system 'escfr' \(KeyError"):
        wbm_ext.load(path)


def test_before_fit_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        create("escfr").save(tmp_path / "model.pt")


def test_a_callback_sees_a_system_that_can_be_asked(small: Any) -> None:
    model = quick("escfr", selection=None)
    seen: list[float] = []

    def watch(epoch: int, record: dict[str, float]) -> bool:
        seen.append(float(model.ate(small.X)))
        record["ate"] = seen[-1]
        return epoch == 4

    model.fit(**small.arguments, callbacks=[watch])
    assert model.history_.column("ate") == seen
    assert len(seen) == 4
    assert model.history_.stopped == "callback"
    assert seen[-1] == pytest.approx(float(model.ate(small.X)))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NEURAL)
def test_a_gpu_gives_what_the_cpu_gives(name: str, small: Any, tmp_path: Path) -> None:
    by_cpu = quick(name, dtype="float64").fit(**small.arguments).effect(small.X)
    model = quick(name, dtype="float64", device="cuda").fit(**small.arguments)
    np.testing.assert_allclose(model.effect(small.X), by_cpu, rtol=1e-5, atol=1e-7)
    model.save(tmp_path / "model.pt")
    np.testing.assert_allclose(wbm_ext.load(tmp_path / "model.pt", "cpu").effect(small.X), by_cpu, rtol=1e-5, atol=1e-7)
