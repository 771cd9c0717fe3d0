"""A user's own ratings from a DataFrame, CSV or Parquet, and repeated pairs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wbm_ext.datasets import Ratings, read_dataset, read_ratings
from wbm_ext.datasets.duplicates import merge
from wbm_ext.errors import DatasetError, DataWarning, MissingFileError, UnknownNameError

FRAME = pd.DataFrame({"uid": [0, 2, 1], "iid": [1, 0, 3], "stars": [5.0, 2.0, 3.0], "seen": [1, 0, 1]})
NAMES = {"user": "uid", "item": "iid", "rating": "stars"}


@pytest.fixture(params=["frame", "dict", "csv", "csv.gz", "tsv", "parquet"])
def source(request, tmp_path: Path):
    if request.param in ("frame", "dict"):
        return FRAME if request.param == "frame" else FRAME.to_dict("list")
    path = tmp_path / f"own.{request.param}"
    if request.param == "parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if request.param == "tsv" else ",")
    return path


def triples(ratings: Ratings) -> list[tuple]:
    return list(zip(ratings.users.tolist(), ratings.items.tolist(), ratings.ratings.tolist(), strict=True))


def test_every_source_gives_the_same_ratings(source) -> None:
    ratings = read_ratings(source, **NAMES, scale=(1, 5))
    assert triples(ratings) == [(0, 1, 5.0), (2, 0, 2.0), (1, 3, 3.0)]
    assert (ratings.n_users, ratings.n_items, ratings.scale) == (3, 4, (1, 5))


def test_unobserved_rows_are_left_out_but_belong_to_the_pairs(source) -> None:
    ratings = read_ratings(source, **NAMES, observed="seen")
    assert triples(ratings) == [(0, 1, 5.0), (1, 3, 3.0)]
    assert (ratings.n_users, ratings.n_items) == (3, 4)


def test_unobserved_rows_need_no_rating() -> None:
    frame = FRAME.assign(stars=[5.0, np.nan, 3.0])
    assert len(read_ratings(frame, **NAMES, observed="seen")) == 2
    with pytest.raises(DatasetError, match="source: ratings: ratings must be finite"):
        read_ratings(frame, **NAMES)


@pytest.mark.parametrize(
    ("rule", "kept"), [("first", [1.0, 9.0]), ("last", [6.0, 9.0]), ("mean", [3.0, 9.0]), ("max", [6.0, 9.0])]
)
def test_repeated_pairs_keep_one_rating(rule: str, kept: list[float]) -> None:
    frame = pd.DataFrame({"user": [4, 0, 4, 4], "item": [1, 2, 1, 1], "rating": [1.0, 9.0, 2.0, 6.0]})
    assert triples(read_ratings(frame, duplicates=rule)) == [(4, 1, kept[0]), (0, 2, kept[1])]


def test_repeated_pairs_are_refused_by_default() -> None:
    frame = {"user": [4, 0, 4], "item": [1, 2, 1], "rating": [1.0, 9.0, 2.0]}
    with pytest.raises(DatasetError, match=r"each pair must occur once; got \(user 4, item 1\) again in row 3"):
        read_ratings(frame)


def test_merging_agrees_with_pandas() -> None:
    rng = np.random.default_rng(0)
    users, items, values = rng.integers(0, 20, 2000), rng.integers(0, 30, 2000), rng.normal(size=2000)
    groups = pd.DataFrame({"u": users, "i": items, "v": values}).groupby(["u", "i"], sort=False)["v"]
    for rule in ("first", "last", "mean", "max"):
        expected = getattr(groups, rule)()
        got = merge(users, items, values, 30, rule, "x")
        assert list(zip(got[0].tolist(), got[1].tolist(), strict=True)) == expected.index.tolist()
        assert got[2] == pytest.approx(expected.to_numpy())


def test_a_data_set_has_the_pairs_of_both_tables() -> None:
    train = {"user": [0, 1], "item": [5, 0], "rating": [4.0, 1.0]}
    test = {"user": [7], "item": [2], "rating": [2.0]}
    data = read_dataset(train, test, name="mine", threshold=4)
    assert (data.n_users, data.n_items, len(data.train), len(data.test)) == (8, 6, 2, 1)
    assert (data.name, data.threshold) == ("mine", 4.0)
    with pytest.raises(DatasetError, match=r"source: users: ids must be in \[0, 5\); got 7"):
        read_dataset(train, test, n_users=5, n_items=6)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"column item=.iid. does not exist; valid: .user., .item., .rating."):
        read_ratings({"user": [0], "item": [0], "rating": [1]}, item="iid")
    with pytest.raises(TypeError, match="source must be a DataFrame, a mapping of columns or a path; got list"):
        read_ratings([[1, 2, 3]])
    with pytest.raises(MissingFileError, match=r"there is no file .*no\.csv"):
        read_ratings(tmp_path / "no.csv")
    with pytest.raises(MissingFileError, match=r"there is no file .*no\.parquet"):
        read_ratings(tmp_path / "no.parquet")
    with pytest.raises(DatasetError, match=r"own\.xlsx must end in \.csv, \.tsv, \.txt, \.parquet"):
        read_ratings(tmp_path / "own.xlsx")
    with pytest.raises(ValueError, match="must name different columns"):
        read_ratings(FRAME, user="uid", item="uid", rating="stars")
    with pytest.raises(UnknownNameError, match="duplicates='media' does not exist"):
        read_ratings(FRAME, **NAMES, duplicates="media")
    with pytest.raises(TypeError, match=r"users must hold (numbers|integer ids)"):
        read_ratings({"user": ["ann"], "item": [0], "rating": [1]})
    with pytest.raises(DatasetError, match="observed: values must be 0 or 1; got 2"):
        read_ratings(FRAME.assign(seen=[0, 2, 1]), **NAMES, observed="seen")


def test_bad_files_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("user,item,rating\n0,1,5\n0,x,5\n")
    with pytest.raises(DatasetError, match=r"own\.csv: item must be an id.*got 'x' in line 3"):
        read_ratings(path)
    path.write_text("user,item,stars\n0,1,5\n")
    with pytest.raises(UnknownNameError, match=r"own\.csv: column='rating' does not exist"):
        read_ratings(path)
    path.write_text("user,item,rating\n0,1,9\n")
    with pytest.raises(DatasetError, match=r"own\.csv: ratings: ratings out of range \[1, 5\]"):
        read_ratings(path, scale=(1, 5))
    (tmp_path / "own.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match=r"own\.parquet must be a Parquet file"):
        read_ratings(tmp_path / "own.parquet")
    FRAME.to_parquet(tmp_path / "own.parquet")
    with pytest.raises(UnknownNameError, match=r"own\.parquet: column='user' does not exist"):
        read_ratings(tmp_path / "own.parquet")


NAMED = pd.DataFrame({"uid": ["zoe", "ann", "zoe"], "iid": ["B, C", "A", "A"], "stars": [5.0, 2.0, 3.0]})


@pytest.mark.parametrize("kind", ["frame", "csv", "csv.gz", "tsv", "parquet"])
def test_users_and_items_may_be_strings(kind: str, tmp_path: Path) -> None:
    given = NAMED if kind == "frame" else tmp_path / f"own.{kind}"
    if kind == "parquet":
        NAMED.to_parquet(given)
    elif kind != "frame":
        NAMED.to_csv(given, index=False, sep="\t" if kind == "tsv" else ",")
    ratings = read_ratings(given, **NAMES, labels=True)
    assert triples(ratings) == [(1, 1, 5.0), (0, 0, 2.0), (1, 0, 3.0)]
    assert (ratings.user_labels.tolist(), ratings.item_labels.tolist()) == (["ann", "zoe"], ["A", "B, C"])
    assert ratings.subset([0]).item_labels.tolist() == ["A", "B, C"]
    other = read_ratings({"uid": ["ann"], "iid": ["B, C"], "stars": [1]}, **NAMES, labels=ratings)
    assert triples(other) == [(0, 1, 1.0)]
    assert (other.n_users, other.n_items) == (2, 2)
    with pytest.raises(DatasetError, match="users must be among the 2 known ones; got 'bob' in row 2"):
        read_ratings({"uid": ["ann", "bob"], "iid": ["A", "A"], "stars": [1, 2]}, **NAMES, labels=ratings)


def test_two_labelled_tables_share_their_ids() -> None:
    train = {"user": ["b", "c"], "item": ["x", "x"], "rating": [5, 1]}
    data = read_dataset(train, {"user": ["a"], "item": ["y"], "rating": [2]}, labels=True)
    assert data.train.user_labels.tolist() == data.test.user_labels.tolist() == ["a", "b", "c"]
    assert (triples(data.train), triples(data.test)) == ([(1, 0, 5.0), (2, 0, 1.0)], [(0, 1, 2.0)])


def test_labels_that_cannot_be(tmp_path: Path) -> None:
    good = {"user": ["a", "b"], "item": [3, 12], "rating": [1, 2]}
    assert read_ratings(good, labels=True).item_labels.tolist() == ["12", "3"]
    for column, message in (
        (["a", None], "users must hold strings or integers; got None at position 1"),
        ([0.5, 1.0], "users must hold strings or integers; got dtype float64"),
        (["a", ""], "users must not be empty strings; got one at position 1"),
        ([["a"], ["b"]], r"users must be 1-d, shape \(n,\)"),
    ):
        with pytest.raises((TypeError, DatasetError), match=message):
            read_ratings({**good, "user": column}, labels=True)
    with pytest.raises(ValueError, match="n_users and n_items must be left out with labels"):
        read_ratings(good, labels=True, n_users=2)
    with pytest.raises(ValueError, match="got one without"):
        read_ratings(good, labels=Ratings([0], [0], [1]))
    with pytest.raises(ValueError, match="user_labels must be 1 strings, one an id; got 2"):
        Ratings([0], [0], [1], user_labels=["a", "b"])
    with pytest.raises(ValueError, match="item_labels must be sorted and different; got 'a'"):
        Ratings([0], [1], [1], item_labels=["b", "a"])
    path = tmp_path / "own.csv"
    path.write_text("user,item,rating\na,b,5\na,c,much\n")
    with pytest.raises(DatasetError, match=r"own\.csv: rating must be a finite number; got 'much' in line 3"):
        read_ratings(path, labels=True)
    path.write_text("user,item,stars\na,b,5\n")
    with pytest.raises(UnknownNameError, match="column='rating' does not exist"):
        read_ratings(path, labels=True)
    path.write_text("user,item,rating\na,b,5,9\na,c,4,9\n")
    with pytest.raises(DatasetError, match="must have 3 cells a line, as its header has; got 4 in line 2"):
        read_ratings(path, labels=True)


def test_the_mean_of_whole_ratings_is_not_cut() -> None:
    for values in ([4, 1], np.array([4, 1], dtype=np.int8), pd.array([4, 1], dtype="Int64")):
        frame = pd.DataFrame({"user": [0, 0], "item": [0, 0], "rating": values})
        assert triples(read_ratings(frame, duplicates="mean")) == [(0, 0, 2.5)]
    assert merge(np.zeros(3, int), np.zeros(3, int), np.array([1, 1, 0]), 1, "mean", "x")[2] == pytest.approx([2 / 3])


def test_repeated_pairs_are_named_as_the_table_names_them(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('user,item,rating\n"ann, a",B,1\nzoe,B,2\n\n"ann, a",B,3\n')
    with pytest.raises(DatasetError, match=r"got \(user 'ann, a', item 'B'\) again in line 5"):
        read_ratings(path, labels=True)
    with pytest.raises(DatasetError, match=r"got \(user 'b', item 7\) again in row 3"):
        read_ratings({"user": ["b", "a", "b"], "item": [7, 7, 7], "rating": [1, 2, 3]}, labels=True)


@pytest.mark.parametrize("text", ["01", "1.0", "+1", "-1", "1e0", "99999999999999999999"])
def test_an_id_is_a_whole_number_as_it_is_usually_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"user,item,rating\n0,0,1\n{text},0,2\n")
    with pytest.raises(DatasetError, match=r"user must be an id, .* in line 3; labels=True \(--labels\) takes names"):
        read_ratings(path)
    assert read_ratings(path, labels="auto").user_labels.tolist() == sorted(["0", text])


def test_ids_from_zero_up_are_ids_and_all_else_are_names() -> None:
    def read(users: list) -> Ratings:
        return read_ratings({"user": users, "item": [0] * len(users), "rating": [1] * len(users)}, labels="auto")

    assert read([0, 1, 2]).user_labels is None
    assert read(["0", "1", "2"]).user_labels.tolist() == ["0", "1", "2"]  # not from a file: text is a name
    assert read([1, 2, 3]).user_labels.tolist() == ["1", "2", "3"]
    assert read([0, 1, 2000]).n_users == 3
    assert read(["0", "1", "x"]).n_users == 3


def test_great_gaps_between_ids_are_told() -> None:
    frame = {"user": range(50), "item": [29 * k for k in range(50)], "rating": [1] * 50}
    with pytest.warns(DataWarning, match="item has 50 different ids, but the largest is 1421"):
        read_ratings(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_ratings(frame, n_users=50, n_items=1422)
        read_ratings(frame, labels=True)


def test_unknown_users_and_items_are_refused_or_left_out_and_counted() -> None:
    known = read_ratings({"user": ["a", "b"], "item": ["x", "y"], "rating": [1, 2]}, labels=True)
    frame = {"user": ["a", "c", "b"], "item": ["x", "x", "z"], "rating": [1, 2, 3]}
    with pytest.raises(DatasetError, match="users must be among the 2 known ones; got 'c' in row 2"):
        read_ratings(frame, labels=known)
    with pytest.warns(DataWarning, match="2 of 3 rows have a user or an item that is not known"):
        assert triples(read_ratings(frame, labels=known, unknown="skip")) == [(0, 0, 1.0)]
    ids = {"user": [0, 5], "item": [1, 1], "rating": [1, 2]}
    with pytest.warns(DataWarning, match="1 of 2 rows"):
        assert triples(read_ratings(ids, n_users=3, n_items=2, unknown="skip")) == [(0, 1, 1.0)]
