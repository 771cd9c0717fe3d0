"""Fits that are broken off and go on, fitted systems in files, and the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wbm_ext.datasets import RatingsDataset
from wbm_ext.persistence import read_model
from wbm_ext.recommender import create, systems

QUICK: dict[str, Any] = {"epochs": 4, "random_state": 0, "batch_size": 64}


class Broken(Exception):
    """Stands for a crash."""


def crash(at: int) -> Any:
    def callback(epoch: int, record: dict[str, float]) -> None:
        if epoch == at:
            raise Broken

    return callback


def same(left: Any, right: Any) -> None:
    state = right.model_.state_dict()
    for key, value in left.model_.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert left.history_.records == right.history_.records


KINDS = ("as-ips", "dr-jl", "sdr", "dr-wbm")  # teachers, two stages and turns, turns, several tasks


@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in systems()]
)
def test_a_fit_that_goes_on_ends_where_an_unbroken_one_ends(name: str, tiny: RatingsDataset, tmp_path: Path) -> None:
    whole = create(name, **QUICK).fit(tiny.train)
    run = tmp_path / "run"
    with pytest.raises(Broken):
        create(name, **QUICK).fit(tiny.train, checkpoint=run, callbacks=[crash(3)])
    model = create(name, **QUICK).fit(tiny.train, checkpoint=run, resume=True, callbacks=[lambda *_: None])
    same(whole, model)
    if name in ("ips-wbm", "dr-wbm"):
        assert model.one_group_batches_ == whole.one_group_batches_
    again = create(name, **QUICK).fit(tiny.train, checkpoint=run, resume=True, callbacks=[lambda *_: None])
    same(whole, again)


def test_a_break_in_the_first_stage(tiny: RatingsDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wbm_ext.recommender import propensity

    whole = create("dr-jl", **QUICK).fit(tiny.train)
    steps, loss = [0], propensity.propensity_loss

    def failing(*args: Any) -> torch.Tensor:
        steps[0] += 1
        if steps[0] == 5:  # one batch and one look at the judges an epoch
            raise Broken
        return loss(*args)

    monkeypatch.setattr(propensity, "propensity_loss", failing)
    with pytest.raises(Broken):
        create("dr-jl", **QUICK).fit(tiny.train, checkpoint=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.propensity"]
    monkeypatch.undo()
    same(whole, create("dr-jl", **QUICK).fit(tiny.train, checkpoint=tmp_path / "run", resume=True))


def test_another_fit_is_not_gone_on_with(tiny: RatingsDataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    create("multi-ips", **QUICK).fit(tiny.train, checkpoint=run)
    with pytest.raises(ValueError, match=r"params\.floor \(None there, 0\.1 here\)"):
        create("multi-ips", floor=0.1, **QUICK).fit(tiny.train, checkpoint=run, resume=True)
    with pytest.raises(ValueError, match="it differs in data"):
        create("multi-ips", **QUICK).fit(tiny.train.subset(np.arange(len(tiny.train) - 1)), checkpoint=run, resume=True)
    with pytest.raises(ValueError, match="streams follow from 1"):
        create("multi-ips", **{**QUICK, "random_state": 1}).fit(tiny.train, checkpoint=run, resume=True)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint yes"):
        create("multi-ips", **QUICK).fit(tiny.train, checkpoint=run, resume="yes")
    with pytest.raises(ValueError, match="needs checkpoint"):
        create("multi-ips", **QUICK).fit(tiny.train, resume=True)


def test_the_log_has_a_line_an_epoch(tiny: RatingsDataset, tmp_path: Path) -> None:
    model = create("dr-wbm", **QUICK).fit(tiny.train, log=tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["prediction"] for line in lines] == model.history_.column("prediction")


def test_callbacks_add_to_the_record_and_end_a_fit(tiny: RatingsDataset) -> None:
    def callback(epoch: int, record: dict[str, float]) -> bool:
        record["twice"] = 2.0 * epoch
        return epoch == 2

    model = create("naive", **QUICK).fit(tiny.train, callbacks=[callback])
    assert model.history_.column("twice") == [2.0, 4.0]
    assert model.history_.stopped == "callback"


@pytest.mark.parametrize("name", systems())
def test_fitted_systems_come_back_from_their_files(name: str, tiny: RatingsDataset, tmp_path: Path) -> None:
    model = create(name, **{**QUICK, "epochs": 1}).fit(tiny.train)
    model.save(tmp_path / "model")
    file = read_model(tmp_path / "model")
    assert (file.room, file.system) == ("recommender", name)
    loaded = create(file.system, **file.params)
    file.fill(loaded, "cpu")
    users, items = tiny.test.users, tiny.test.items
    np.testing.assert_array_equal(model.predict(users, items), loaded.predict(users, items))
    np.testing.assert_array_equal(model.propensity(users, items), loaded.propensity(users, items))
    np.testing.assert_array_equal(model.recommend(3, k=4)[0], loaded.recommend(3, k=4)[0])
    assert loaded.history_.records == model.history_.records
    assert loaded.observed_.density == model.observed_.density
