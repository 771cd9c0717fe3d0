"""Data folders, packed files, line ends and hashes."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from wbm_ext.datasets import files
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError

TEXT = b"1 2 3\n4 5 6\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


def test_the_root_given_goes_before_the_environment(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "coat").mkdir()
    monkeypatch.setenv("WBM_DATA", str(tmp_path))
    assert files.data_root(None, "coat") == tmp_path / "coat"
    assert files.data_root(str(tmp_path), "coat") == tmp_path


def test_no_folder_names_both_ways(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WBM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"pass root=.*environment variable WBM_DATA.*'coat'"):
        files.data_root(None, "coat")


def test_a_folder_that_is_not_there_is_named_with_its_origin(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(MissingFileError, match=r"absent \(from root\) is not one"):
        files.data_root(tmp_path / "absent", "coat")
    monkeypatch.setenv("WBM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"coat \(from environment variable WBM_DATA\)"):
        files.data_root(None, "coat")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("text", [TEXT, TEXT.replace(b"\n", b"\r\n")], ids=["lf", "crlf"])
def test_all_copies_of_a_file_read_and_verify_alike(tmp_path: Path, packed: bool, text: bytes) -> None:
    path = tmp_path / ("x.ascii.gz" if packed else "x.ascii")
    path.write_bytes(gzip.compress(text) if packed else text)
    assert files.find(tmp_path, "x.ascii") == path
    assert files.read(path) == TEXT
    files.verify(path, SHA256)


def test_the_plain_file_goes_before_the_packed_one(tmp_path: Path) -> None:
    assert files.find(tmp_path, "x") is None
    (tmp_path / "x.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "x").write_bytes(TEXT)
    assert files.find(tmp_path, "x") == tmp_path / "x"


def test_another_content_names_file_expected_got_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(TEXT + b"7")
    got = hashlib.sha256(TEXT + b"7").hexdigest()
    with pytest.raises(ChecksumError, match=rf"x is not .*expected SHA-256 {SHA256}, got {got}; .*verify=False"):
        files.verify(path, SHA256)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing does not exist"):
        files.read(tmp_path / "nothing")
    for damaged in (b"not packed", gzip.compress(TEXT)[:-6], gzip.compress(TEXT)[:12] + b"\xff" * 12):
        (tmp_path / "x.gz").write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"x\.gz must be a gzip file"):
            files.read(tmp_path / "x.gz")


def test_parse_table_reads_numbers_and_passes_over_empty_lines() -> None:
    table = files.parse_table(b"1 2.5 3e-1\n\n4 5 6", (2, 3), "x")
    assert table.dtype == np.float64
    assert table.tolist() == [[1, 2.5, 0.3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"1 2 3\n", "x must have 2 lines of 3 numbers; got 1 lines"),
        (b"1 2 3\n4 5\n", "x must have 3 numbers a line; got 2 in line 2"),
        (b"1 2 3\n4 five 6\n", "x must hold numbers only; got b'five' in line 2"),
        (b"1 2 3\n4 nan 6\n", "x must hold finite numbers; got nan at line 2, column 2"),
    ],
)
def test_parse_table_refuses(content: bytes, text: str) -> None:
    with pytest.raises(DatasetError, match=text):
        files.parse_table(content, (2, 3), "x")
