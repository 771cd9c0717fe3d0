"""The Coat loader: on files that only look like Coat, and on the real ones (marker data)."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbm_ext.datasets import RatingsDataset, load, load_coat, overlap
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError


def same(one: RatingsDataset, other: RatingsDataset) -> bool:
    pairs = [
        (getattr(getattr(one, part), field), getattr(getattr(other, part), field))
        for part in ("train", "test")
        for field in ("users", "items", "ratings")
    ]
    pairs += [(getattr(one, part), getattr(other, part)) for part in ("user_features", "item_features", "propensities")]
    return all(np.array_equal(left, right) for left, right in pairs)


def change(path: Path, line: int, column: int, value: str) -> None:
    rows = [row.split() for row in path.read_text().splitlines()]
    rows[line - 1][column - 1] = value
    path.write_text("".join(" ".join(row) + "\n" for row in rows))


def test_files_read_as_matrices(imitation_root: Path) -> None:
    data = load_coat(imitation_root, verify=False)
    train = np.loadtxt(imitation_root / "train.ascii")
    assert len(data.train) == np.count_nonzero(train)
    assert np.array_equal(data.train.ratings, train[data.train.users, data.train.items])
    assert (data.n_users, data.n_items, data.threshold) == (290, 300, 3.0)
    assert data.pair_features([0], [0]).shape == (1, 47)
    assert np.array_equal(data.propensities, np.loadtxt(imitation_root / "propensities.ascii"))


def test_covariates_are_optional_and_packed_files_are_taken(imitation_root: Path) -> None:
    (imitation_root / "user_features.ascii").unlink()
    (imitation_root / "propensities.ascii").unlink()
    test = imitation_root / "test.ascii"
    (imitation_root / "test.ascii.gz").write_bytes(gzip.compress(test.read_bytes()))
    test.unlink()
    data = load_coat(imitation_root, verify=False)
    assert data.user_features is None
    assert data.propensities is None
    assert data.item_features.shape == (300, 33)
    assert len(data.test) > 0


def test_unregistered_content_is_refused_by_default(imitation_root: Path) -> None:
    with pytest.raises(ChecksumError, match=r"train\.ascii is not the registered file"):
        load_coat(imitation_root)


def test_a_missing_file_names_folder_and_files(imitation_root: Path) -> None:
    (imitation_root / "test.ascii").unlink()
    with pytest.raises(
        MissingFileError,
        match=r"coat lacks test\.ascii: Coat needs train\.ascii and test\.ascii .*propensities\.ascii if",
    ):
        load_coat(imitation_root)


@pytest.mark.parametrize(
    ("filename", "value", "text"),
    [
        (
            "train.ascii",
            "6",
            r"train\.ascii: each value must be an integer 0\.\.5; got 6 at line 3, column 2",
        ),
        (
            "test.ascii",
            "2.5",
            r"test\.ascii: each value must be an integer 0\.\.5; got 2\.5 at line 3, column 2",
        ),
        ("user_features.ascii", "2", r"each value must be 0 or 1; got 2 at line 3, column 2"),
        ("propensities.ascii", "0", r"must be a probability in \(0, 1\]; got 0 at line 3, column 2"),
        ("item_features.ascii", "1 1", r"item_features\.ascii must have 33 numbers a line; got 34 in line 3"),
    ],
)
def test_values_that_cannot_be_are_refused(imitation_root: Path, filename, value, text) -> None:
    change(imitation_root / filename, 3, 2, value)
    with pytest.raises(DatasetError, match=text):
        load_coat(imitation_root, verify=False)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filename=st.sampled_from(["train.ascii", "test.ascii", "user_features.ascii", "propensities.ascii"]),
    junk=st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"9", b"-", b" 1", b"\n", b"nan", b"1e999"])),
    place=st.integers(0, 5000),
)
def test_bytes_pushed_into_a_file_are_named_or_harmless(imitation_root: Path, filename, junk, place) -> None:
    path = imitation_root / filename
    content = path.read_bytes()
    message = ""
    try:
        path.write_bytes(content[:place] + junk + content[place:])
        assert load_coat(imitation_root, verify=False).n_users == 290
    except DatasetError as error:
        message = str(error)
    finally:
        path.write_bytes(content)
    assert not message or filename in message


@pytest.mark.data
def test_coat_has_the_published_numbers(coat_root: Path) -> None:
    data = load("coat", coat_root)
    assert (data.n_users, data.n_items, len(data.train), len(data.test)) == (290, 300, 6960, 4640)
    assert np.bincount(data.train.ratings.astype(int), minlength=6)[1:].tolist() == [
        1901,
        1437,
        1717,
        1275,
        630,
    ]
    assert np.bincount(data.test.ratings.astype(int), minlength=6)[1:].tolist() == [1879, 899, 1002, 641, 219]
    assert round(float(data.train.binarize(3).mean()), 3) == 0.520
    assert round(float(data.test.binarize(3).mean()), 3) == 0.401
    assert (np.bincount(data.train.users, minlength=290) == 24).all()
    assert (np.bincount(data.test.users, minlength=290) == 16).all()
    items = np.bincount(data.train.items, minlength=300)
    assert (items.min(), items.max()) == (5, 88)


@pytest.mark.data
def test_coat_shares_366_pairs_with_equal_ratings(coat_root: Path) -> None:
    data = load_coat(coat_root)
    shared = overlap(data.train, data.test)
    assert shared.sum() == 366
    known = {
        (user, item): rating
        for user, item, rating in zip(data.train.users, data.train.items, data.train.ratings, strict=True)
    }
    again = data.test.subset(shared)
    assert all(
        known[user, item] == rating for user, item, rating in zip(again.users, again.items, again.ratings, strict=True)
    )


@pytest.mark.data
def test_coat_covariates_and_propensities(coat_root: Path) -> None:
    data = load_coat(coat_root)
    assert data.user_features.shape == (290, 14)
    assert data.item_features.shape == (300, 33)
    assert (data.user_features.sum(axis=1) == 4).all()
    assert (data.item_features.sum(axis=1) == 4).all()
    assert round(float(data.propensities.sum()), 1) == 6961.6
    assert round(float(data.propensities.max()), 3) == 0.690
    assert "no licence stated" in data.describe()


@pytest.mark.data
def test_coat_with_the_other_line_ends_is_identical(coat_root: Path, tmp_path: Path) -> None:
    for path in coat_root.glob("*.ascii"):
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    packed = gzip.decompress((coat_root / "propensities.ascii.gz").read_bytes())
    (tmp_path / "propensities.ascii").write_bytes(packed.replace(b"\n", b"\r\n"))
    assert (tmp_path / "train.ascii").stat().st_size == 174_290
    assert same(load_coat(tmp_path), load_coat(coat_root))


@pytest.mark.data
@pytest.mark.parametrize("filename", ["train.ascii", "test.ascii", "user_features.ascii", "item_features.ascii"])
def test_coat_with_one_value_changed_fails_the_check_only(coat_root: Path, tmp_path: Path, filename) -> None:
    for path in coat_root.glob("*.ascii"):
        shutil.copyfile(path, tmp_path / path.name)
    first = (tmp_path / filename).read_text().split()[0]
    change(tmp_path / filename, 1, 1, "0" if first == "1" else "1")
    with pytest.raises(ChecksumError, match=filename.replace(".", r"\.")):
        load_coat(tmp_path)
    assert load_coat(tmp_path, verify=False).n_users == 290
