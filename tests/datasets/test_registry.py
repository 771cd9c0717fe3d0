"""Data sets by name, and downloads from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wbm_ext.datasets import NAMES, RatingsDataset, Treatments, available, check, describe, fetch, files, load, registry
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError, UnknownNameError

CONTENT = {"one.csv": b"1,2\n", "two.csv": b"3,4\n"}


class _Quiet(SimpleHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012

    def log_message(self, *arguments: object) -> None:
        self.requests.append(self.path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch) -> Iterator[str]:
    """Address of a folder with CONTENT; the registry's entry ``ihdp`` is one of these two files."""
    folder = tmp_path / "served"
    folder.mkdir()
    for filename, content in CONTENT.items():
        (folder / filename).write_bytes(content)
    hashes = {filename: hashlib.sha256(content).hexdigest() for filename, content in CONTENT.items()}
    entry = replace(registry.ENTRIES["ihdp"], files={**hashes, "private.csv": None})
    monkeypatch.setitem(registry.ENTRIES, "ihdp", entry)
    _Quiet.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_folders(real_root, tmp_path: Path, monkeypatch) -> None:
    """Neither WBM_DATA (``real_root`` has read it) nor the user's own cache."""
    monkeypatch.delenv("WBM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_names_by_kind() -> None:
    assert available() == NAMES
    assert set(available("ratings")) == {"coat", "yahoo-r3", "kuairec", "synthetic", "niche-items"}
    assert set(available("treatments")) == {"ihdp", "acic2016", "synthetic-effects", "hidden-toy"}
    with pytest.raises(UnknownNameError, match="kind='rating' does not exist; did you mean 'ratings'"):
        available("rating")


@pytest.mark.parametrize("name", NAMES)
def test_each_description_holds_terms_origin_and_files(name: str) -> None:
    text, entry = describe(name), registry.ENTRIES[name]
    for word in (name, entry.kind, entry.licence, entry.source, *entry.files):
        assert word in text
    for sha256 in filter(None, entry.files.values()):
        assert len(sha256) == 64
        assert sha256 in text
    assert ("get it" in text) != entry.generated
    assert set(entry.required) <= set(entry.files)


@pytest.mark.parametrize("name", [name for name, entry in registry.ENTRIES.items() if entry.generated])
def test_generated_ones_load_by_name(name: str) -> None:
    sizes = {"synthetic": {"n_users": 20, "n_items": 30, "density": 0.1}, "niche-items": {}}
    data = load(name, **sizes.get(name, {"n": 50}))
    assert isinstance(data, RatingsDataset if registry.ENTRIES[name].kind == "ratings" else Treatments)
    assert check(name) == []
    with pytest.raises(DatasetError, match="is generated"):
        fetch(name)
    with pytest.raises(ValueError, match="which is generated; got 'somewhere'"):
        load(name, "somewhere")


@pytest.mark.parametrize("name", [name for name, entry in registry.ENTRIES.items() if not entry.generated])
def test_the_others_name_what_they_need(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=rf"data set '{name}' needs a folder: pass root="):
        load(name)
    with pytest.raises(MissingFileError, match=r"lacks .*; origin: "):
        load(name, tmp_path)
    assert {state.state for state in check(name, tmp_path)} == {"missing"}


def test_what_has_no_address_is_not_fetched() -> None:
    with pytest.raises(DatasetError, match=r"'yahoo-r3' has no public address .* source: Yahoo! Webscope"):
        fetch("yahoo-r3")
    with pytest.raises(UnknownNameError, match=r"filenames='big_matrix\.csv' does not exist; .*'random\.txt'"):
        fetch("kuairec", filenames=["big_matrix.csv"])


def test_fetching_fills_the_cache_where_readers_look_last(server: str, tmp_path: Path) -> None:
    folder = fetch("ihdp", mirror=server, progress=False)
    assert folder == tmp_path / "cache" / "wbm_ext" / "ihdp"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert files.data_root(None, "ihdp") == folder
    assert sorted(_Quiet.requests) == ["/one.csv", "/two.csv"]
    fetch("ihdp", mirror=server + "/", progress=False)
    assert len(_Quiet.requests) == 2  # nothing again


def test_the_folder_given_goes_before_the_environment_before_the_cache(
    server: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("WBM_DATA", str(tmp_path / "data"))
    assert fetch("ihdp", mirror=server, filenames=["one.csv"], progress=False) == tmp_path / "data" / "ihdp"
    assert fetch("ihdp", tmp_path / "own", mirror=server, progress=False) == tmp_path / "own"
    assert len(_Quiet.requests) == 3


def test_another_content_is_refused_and_nothing_is_left(server: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "two.csv").write_bytes(b"other")
    with pytest.raises(ChecksumError, match=r"two\.csv is not the registered file, SHA-256 "):
        fetch("ihdp", tmp_path / "own", mirror=server, progress=False)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["one.csv"]


def test_a_changed_file_is_left_alone(server: str, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_bytes(b"mine")
    with pytest.raises(ChecksumError, match=r"one\.csv is not the registered file"):
        fetch("ihdp", tmp_path, mirror=server, progress=False)
    assert (tmp_path / "one.csv").read_bytes() == b"mine"


def test_a_server_that_does_not_answer(server: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "one.csv").unlink()
    with pytest.raises(DatasetError, match=r"one\.csv could not be fetched; got 404"):
        fetch("ihdp", tmp_path, mirror=server, progress=False)
    with pytest.raises(DatasetError, match=r"one\.csv could not be fetched"):
        fetch("ihdp", tmp_path, mirror="http://127.0.0.1:9", progress=False)


def test_check_tells_the_state_of_each_file(server: str, tmp_path: Path) -> None:
    (tmp_path / "one.csv.gz").write_bytes(gzip.compress(CONTENT["one.csv"].replace(b"\n", b"\r\n")))
    (tmp_path / "two.csv").write_bytes(b"other")
    (tmp_path / "private.csv").write_bytes(b"anything")
    states = {state.filename: state for state in check("ihdp", tmp_path)}
    assert {name: state.state for name, state in states.items()} == {
        "one.csv": "ok",
        "two.csv": "changed",
        "private.csv": "unchecked",
    }
    assert states["one.csv"].path == tmp_path / "one.csv.gz"
    (tmp_path / "one.csv.gz").write_bytes(b"no archive")
    assert check("ihdp", tmp_path)[0].state == "damaged"


@pytest.mark.data
@pytest.mark.parametrize("name", ["coat", "ihdp", "acic2016"])
def test_the_real_files_are_the_registered_ones(name: str, real_root) -> None:
    states = [state.state for state in check(name, real_root(name))]
    assert set(states) <= {"ok", "missing"}
    assert states.count("ok") >= 5
