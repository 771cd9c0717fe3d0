"""Large text files in blocks: the same columns whatever the block, and errors with file and line."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbm_ext.datasets.streams import read_columns
from wbm_ext.errors import DatasetError, MissingFileError

WANTED = {"user": np.int32, "item": np.int64, "rating": np.float32}


def write(path: Path, text: str | bytes) -> Path:
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_blocks_line_ends_and_packing_change_nothing(tmp_path: Path, block: int, end: str, name: str) -> None:
    rows = [(3, 10**12, 0.5), (0, 7, 2.25), (2, 5, 1.0)]
    text = "".join(f"{user},{item},{rating}{end}" for user, item, rating in rows)
    for content in (text, text.removesuffix(end)):
        table, digest = read_columns(write(tmp_path / name, content), tuple(WANTED), WANTED, block=block)
        assert [table[column].tolist() for column in WANTED] == [list(column) for column in zip(*rows, strict=True)]
        assert [table[column].dtype for column in WANTED] == [np.int32, np.int64, np.float32]
        assert digest == hashlib.sha256(content.replace("\r\n", "\n").encode()).hexdigest()


def test_a_header_names_the_columns_in_any_order_and_others_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'time,"rating",item,user\n2020-07-05 00:08:23.438,0.5,1,2\n\nx y,1.5,3,4\n')
    table, _ = read_columns(path, (), WANTED, header=True, block=16)
    assert (table["user"].tolist(), table["item"].tolist(), table["rating"].tolist()) == ([2, 4], [1, 3], [0.5, 1.5])


def test_empty_files(tmp_path: Path) -> None:
    table, _ = read_columns(write(tmp_path / "x", ""), tuple(WANTED), WANTED)
    assert [len(table[name]) for name in WANTED] == [0, 0, 0]
    with pytest.raises(DatasetError, match="must begin with a header that holds user, item, rating; got an empty"):
        read_columns(tmp_path / "x", (), WANTED, header=True)
    with pytest.raises(MissingFileError, match="nothing does not exist"):
        read_columns(tmp_path / "nothing", tuple(WANTED), WANTED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3\n4,5\n", r"x must have 3 values a line; got 2 in line 2"),
        ("1,2,3\n4,5,6,7\n", r"x must have 3 values a line; got 4 in line 2"),
        ("1,2,3\n\n4,5,five\n", r"x: rating must be a finite number; got 'five' in line 3"),
        ("1,2,3\n4,5,\n", r"x: rating must be a finite number; got '' in line 2"),
        ("1,2,3\n4,5,inf\n", r"x: rating must be a finite number; got 'inf' in line 2"),
        ("1,2,3\n4,5,1e39\n", r"x: rating must be a finite number; got '1e39' in line 2"),
        ("1,2,3\n1.5,5,6\n", r"x: user must be an id, an integer of at least 0; got '1\.5' in line 2"),
        ("1,2,3\n-1,5,6\n", r"x: user must be an id, an integer of at least 0; got '-1' in line 2"),
        ("1,2,3\n3000000000,5,6\n", r"x: user must be an id.*got '3000000000' in line 2"),
        ("1,2,3\n1,99999999999999999999,6\n", r"x: item must be an id.*got '99999999999999999999' in line 2"),
    ],
)
@pytest.mark.parametrize("block", [4, 1 << 20])
def test_lines_that_cannot_be_are_named(tmp_path: Path, text: str, expected: str, block: int) -> None:
    with pytest.raises(DatasetError, match=expected):
        read_columns(write(tmp_path / "x", text), tuple(WANTED), WANTED, block=block)


def test_headers_that_cannot_be(tmp_path: Path) -> None:
    for text in ("user,item,stars\n1,2,3\n", "user,item,rating,rating\n1,2,3,4\n"):
        with pytest.raises(DatasetError, match="must begin with a header that holds rating once; got user, item"):
            read_columns(write(tmp_path / "x", text), (), WANTED, header=True)


def test_damaged_archives(tmp_path: Path) -> None:
    for content in (b"no archive", gzip.compress(b"1,2,3\n" * 99)[:-9]):
        (tmp_path / "x.gz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"x\.gz cannot be read"):
            read_columns(tmp_path / "x.gz", tuple(WANTED), WANTED)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(st.binary(max_size=60), st.text("0123456789.,-+ \n\r\"'enaif_x", max_size=60).map(str.encode)),
    header=st.booleans(),
    block=st.integers(1, 40),
)
def test_any_bytes_are_read_or_refused_with_the_files_name(tmp_path: Path, content, header, block) -> None:
    path = write(tmp_path / "x", b"user,item,rating\n" + content if header else content)
    message = ""
    try:
        table, _ = read_columns(path, tuple(WANTED), WANTED, header=header, block=block)
        assert len({len(column) for column in table.values()}) == 1
        assert np.isfinite(table["rating"]).all()
        assert (table["user"] >= 0).all()
    except DatasetError as error:
        message = str(error)
    assert not message or str(path) in message
