"""A model file sets what its class declares and no more, and cannot ask for more memory than it holds itself."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_model_files import Estimator, Head

import wbm_ext
from wbm_ext import datasets, ite, recommender
from wbm_ext.errors import FileFormatError
from wbm_ext.persistence import pack, read_document, read_model, unpack, write_document


def rewritten(path: Path, change: Any) -> None:
    document = read_document(path, "model", 1)
    change(document["state"])
    write_document(path, "model", 1, {key: document[key] for key in ("room", "system", "params", "state")})


CHANGES = {
    "an attribute that no class has": lambda state: state.update(evil_=1),
    "a method": lambda state: state.update(predict=1),
    "a private attribute": lambda state: state.update(__class__=1),
    "no state": lambda state: state.clear(),
    "a part missing": lambda state: state.popitem(),
    "another type": lambda state: state.update(dict.fromkeys(list(state)[:1], 3.5)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("system", ["naive", "dr", "tarnet"])
def test_a_state_names_what_its_class_declares(system: str, change: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    if system == "tarnet":
        units = datasets.make_treatments(40, random_state=0)
        ite.create(system, epochs=1, selection=None).fit(units.X, units.y, treatment=units.treatment).save(path)
    else:
        data = datasets.make_ratings(10, 12, density=0.5, test_per_user=2).train
        recommender.create(system, epochs=1).fit(data).save(path)
    wbm_ext.load(path)
    rewritten(path, CHANGES[change])
    with pytest.raises(FileFormatError, match="its state is not that of the system"):
        wbm_ext.load(path)


def test_an_attribute_that_the_class_does_not_declare_is_not_saved(tmp_path: Path) -> None:
    fitted = Estimator().fit()
    fitted.extra_ = 1
    with pytest.raises(TypeError, match="does not declare 'extra_' as learnt"):
        fitted.save(tmp_path / "m")


@pytest.mark.parametrize("size", [2**40, 10**7, -1])
def test_a_network_is_no_larger_than_its_state(size: int) -> None:
    packed = pack(Head(2, generator=torch.Generator()))
    packed["arguments"]["inside"] = size
    with pytest.raises(FileFormatError, match="Head that cannot be built"):
        unpack(packed)


def test_a_tensor_is_no_larger_than_the_values_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    document = {"room": "tests", "system": "x", "params": {}}
    write_document(path, "model", 1, {**document, "state": {"a": torch.zeros(1).expand(2**40)}})
    with pytest.raises(FileFormatError, match="larger than the values it holds"):
        read_model(path)
    write_document(path, "model", 1, {**document, "state": {"a": torch.zeros(2, 2).to_sparse()}})
    with pytest.raises(FileFormatError, match="larger than the values it holds"):
        read_model(path)


def test_shared_lists_do_not_multiply(tmp_path: Path) -> None:
    value: list[Any] = [1.0]
    for _ in range(40):  # 2^40 values, in a file of a few hundred bytes
        value = [value, value]
    write_document(tmp_path / "m", "model", 1, {"room": "tests", "system": "x", "params": {}, "state": {"a": value}})
    with pytest.raises(FileFormatError, match="it repeats its values"):
        read_model(tmp_path / "m")


def test_compressed_parts_are_refused(tmp_path: Path) -> None:
    Estimator().fit().save(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as old, zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("archive/bomb", bytes(50_000_000))
    with pytest.raises(FileFormatError, match="its parts are compressed"):
        read_model(tmp_path / "z")


def test_one_long_text_does_not_widen_all_others() -> None:
    texts = np.array(["a", "bc"] * 1000)
    assert unpack(pack(texts)).tolist() == texts.tolist()
    packed = pack(texts)
    packed["text"][7] = "x" * 100_000
    with pytest.raises(FileFormatError, match="has 100000 characters, far more than the others"):
        unpack(packed)
