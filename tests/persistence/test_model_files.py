"""Model files: what is saved comes back, nothing in them is run, and every unusable file is named as such."""

from __future__ import annotations

import copy
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import nn

from wbm_ext.errors import FileFormatError
from wbm_ext.persistence import Network, Saveable, atomic_write, pack, read_document, read_model, unpack, write_document


class Head(Network):
    def __init__(self, inside: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32, **other: int):
        super().__init__()
        self.layer = nn.Linear(inside, other.get("outside", 1), dtype=dtype)
        with torch.no_grad():
            self.layer.weight.copy_(torch.rand(self.layer.weight.shape, generator=generator))


class Estimator(Saveable, BaseEstimator):
    room, name = "tests", "estimator"
    learnt: ClassVar[dict[str, Any]] = {
        **{"networks_": nn.ModuleDict, "array_": np.ndarray, "labels_": np.ndarray, "tensor_": torch.Tensor},
        "plain_": dict,
    }

    def __init__(self, kappa: float = 1.0, random_state: Any = None) -> None:
        self.kappa, self.random_state = kappa, random_state

    def fit(self) -> Estimator:
        generator = torch.Generator().manual_seed(0)
        self.networks_ = nn.ModuleDict(
            {"a": Head(3, generator=generator, dtype=torch.float64), "b": Head(2, generator=generator, outside=4)}
        )
        self.array_ = np.arange(6, dtype=np.int16).reshape(2, 3)
        self.labels_ = np.array(["x", "yy"])
        self.tensor_ = torch.rand(2, generator=generator)
        self.plain_ = {"a": [1, (2.5, None)], "flag": True, 3: np.float64(0.5)}
        return self


def test_parameters_and_learnt_values_come_back(tmp_path: Path) -> None:
    fitted = Estimator(kappa=float("inf"), random_state=torch.Generator()).fit()
    fitted.save(tmp_path / "m")
    model = read_model(tmp_path / "m")
    assert (model.room, model.system) == ("tests", "estimator")
    assert model.params == {"kappa": float("inf"), "random_state": None}
    loaded = Estimator(**model.params)
    model.fill(loaded, "cpu")
    np.testing.assert_array_equal(loaded.array_, fitted.array_)
    assert loaded.array_.dtype == np.int16
    assert loaded.labels_.tolist() == ["x", "yy"]
    assert torch.equal(loaded.tensor_, fitted.tensor_)
    assert loaded.plain_ == {"a": [1, (2.5, None)], "flag": True, 3: 0.5}
    for key, value in fitted.networks_.state_dict().items():
        assert torch.equal(value, loaded.networks_.state_dict()[key])
    assert loaded.networks_["a"].layer.weight.dtype == torch.float64
    assert loaded.networks_["b"].layer.out_features == 4


def test_networks_are_moved_to_the_device_that_is_asked_for() -> None:
    packed = pack({"head": Head(2, generator=torch.Generator()), "tensor": torch.zeros(2)})
    moved = unpack(packed, "meta")
    assert moved["head"].layer.weight.device.type == "meta"
    assert moved["tensor"].device.type == "meta"


def test_networks_still_copy_and_pickle() -> None:
    head = Head(2, generator=torch.Generator(), outside=3)
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert torch.equal(twin.layer.weight, head.layer.weight)
        assert pack(twin)["arguments"] == pack(head)["arguments"]


def test_before_fit_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="Call 'fit' before 'save'"):
        Estimator().save(tmp_path / "m")


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    fitted = Estimator().fit()
    fitted.plain_ = {"inner": [0, object()]}
    with pytest.raises(TypeError, match=r"plain_\['inner'\]\[1\] cannot be saved: it is a object"):
        fitted.save(tmp_path / "m")
    with pytest.raises(TypeError, match="dtype object"):
        pack(np.array([None]))
    with pytest.raises(TypeError, match="keys must be strings or numbers"):
        pack({"~": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder .*absent does not exist"):
        Estimator().fit().save(tmp_path / "absent" / "m")
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file in it"):
        Estimator().fit().save(tmp_path)


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_reading_runs_no_code(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "m"
    torch.save({"wbm_ext": "model", "format": 1, "state": Exploit(mark)}, path)
    with pytest.raises(FileFormatError, match="reading it could run code"):
        read_model(path)
    path.write_bytes(pickle.dumps(Exploit(mark)))
    with pytest.raises(FileFormatError, match="no zip archive"):
        read_model(path)
    assert not mark.exists()


def test_a_file_names_tags_only_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"kind 'os\.system', which this wbm_ext does not know"):
        unpack({"~": "os.system", "command": "true"})
    packed = pack(Head(2, generator=torch.Generator()))
    packed["arguments"]["inside"] = 1
    with pytest.raises(FileFormatError, match=r"(?s)Head that cannot be built: .*size mismatch"):
        unpack(packed)
    with pytest.raises(FileFormatError, match="array that cannot be built"):
        unpack({"~": "array"})


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # the first byte of a tensor's data, found by the local header in front of it
        entry = next(info for info in archive.infolist() if "/data/" in info.filename)
    content = bytearray(path.read_bytes())
    start = entry.header_offset
    skip = 30 + int.from_bytes(content[start + 26 : start + 28], "little")
    skip += int.from_bytes(content[start + 28 : start + 30], "little")
    content[start + skip] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, tuple[Any, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("user,item\n1,2\n"), "no zip archive"),
    "cut short": (_cut, "damaged or cut short"),
    "a flipped bit": (_flip, "damaged: the checksum"),
    "another zip": (lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"), "cannot be read as a wbm_ext model"),
    "another torch file": (lambda path: torch.save([1], path), "not one that wbm_ext has written"),
    "a checkpoint": (lambda path: write_document(path, "checkpoint", 1, {}), "is a wbm_ext checkpoint; expected a model"),
    "a newer format": (lambda path: write_document(path, "model", 99, {}), "has format 99 .* upgrade wbm_ext"),
    "a part missing": (lambda path: write_document(path, "model", 1, {"room": "x"}), "its entry 'system' is no str"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_unusable_files_are_told_apart(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    Estimator().fit().save(path)
    harm, message = DAMAGES[damage]
    harm(path)
    with pytest.raises(FileFormatError, match=message):
        read_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_document(tmp_path / "m", "model", 1)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m"
    atomic_write(path, lambda file: file.write(b"old"))

    def half(file: Any) -> None:
        file.write(b"new")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        atomic_write(path, half)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
