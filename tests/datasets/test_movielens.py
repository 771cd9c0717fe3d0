"""The MovieLens 100k reader, on a file that only looks like it, and on the real one where recbole is installed."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from wbm_ext.datasets.movielens import N_ITEMS, N_RATINGS, N_USERS, PACKAGED, load_movielens_100k
from wbm_ext.errors import ChecksumError, DatasetError, MissingExtraError, MissingFileError

HEADING = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


@pytest.fixture(scope="module")
def lines() -> bytes:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(N_USERS * N_ITEMS)[:N_RATINGS]
    columns = (pairs // N_ITEMS + 1, pairs % N_ITEMS + 1, rng.integers(1, 6, N_RATINGS), np.full(N_RATINGS, 881250949))
    return "".join("\t".join(map(str, row)) + "\n" for row in np.stack(columns, 1)).encode()


def without_recbole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_the_heading_of_recbole_is_passed_over_and_ids_count_from_zero(tmp_path: Path, lines: bytes) -> None:
    for name, content in (("u.data", lines), ("ml.inter", HEADING + lines), ("u.data.gz", gzip.compress(lines))):
        (tmp_path / name).write_bytes(content)
        got = load_movielens_100k(tmp_path / name, verify=False)
        user, item, rating, _ = map(int, lines.split(b"\n")[0].split())
        assert (len(got), got.n_users, got.n_items) == (N_RATINGS, N_USERS, N_ITEMS)
        assert (got.users[0], got.items[0], got.ratings[0]) == (user - 1, item - 1, rating)


def test_the_installed_package_is_found_without_an_import(
    tmp_path: Path, lines: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "recbole"
    (package / PACKAGED.parent).mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / PACKAGED).write_bytes(HEADING + lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(load_movielens_100k(verify=False)) == N_RATINGS
    assert "recbole" not in sys.modules


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without_recbole(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"wbm_ext\[movielens\]"):
        load_movielens_100k()


def test_other_content_is_refused(tmp_path: Path, lines: bytes) -> None:
    file = tmp_path / "u.data"
    with pytest.raises(MissingFileError, match="does not exist"):
        load_movielens_100k(file)
    file.write_bytes(lines)
    with pytest.raises(ChecksumError, match="registered"):
        load_movielens_100k(file)
    file.write_bytes(lines.split(b"\n", 1)[1])
    with pytest.raises(DatasetError, match="100000 lines"):
        load_movielens_100k(file, verify=False)
    first, rest = lines.split(b"\n", 1)
    user, item, _, time = first.split()
    file.write_bytes(b" ".join((user, item, b"6", time)) + b"\n" + rest)
    with pytest.raises(DatasetError, match=r"rating must be an integer 1..5; got 6 in rating 1"):
        load_movielens_100k(file, verify=False)


@pytest.mark.skipif(importlib.util.find_spec("recbole") is None, reason="recbole (extra movielens) is not installed")
def test_the_real_file_has_its_published_mean() -> None:
    ratings = load_movielens_100k()
    assert round(float(ratings.ratings.mean()), 5) == 3.52986
    assert round(ratings.density, 4) == 0.063
