"""The readers of Yahoo! R3 and KuaiRec on generated files of their formats, and on KuaiRec's real extract."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbm_ext.datasets import kuairec, load_kuairec, load_kuairec_extract, load_yahoo_r3, overlap, yahoo
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError, UnknownNameError


def pairs(rng: np.random.Generator, n_users: int, n_items: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    keys = rng.choice(n_users * n_items, count, replace=False)
    return keys // n_items, keys % n_items


def write_yahoo(folder: Path, name: str, users, items, ratings) -> None:
    rows = zip(users + 1, items + 1, ratings, strict=True)
    (folder / name).write_text("".join(f"{user}\t{item}\t{rating}\n" for user, item, rating in rows))


def write_kuairec(folder: Path, name: str, users, items, ratios) -> None:
    middle = "5381,6067,2020-07-05 00:08:23.438,20200705,1593878903.438"
    rows = "".join(f"{user},{item},{middle},{ratio}\n" for user, item, ratio in zip(users, items, ratios, strict=True))
    (folder / name).write_text(",".join(kuairec.FIELDS) + "\n" + rows)


@pytest.fixture
def yahoo_root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_yahoo(tmp_path, yahoo.TRAIN, *pairs(rng, 15_400, 1_000, 3000), rng.integers(1, 6, 3000))
    write_yahoo(tmp_path, yahoo.TEST, *pairs(rng, 5_400, 1_000, 500), rng.integers(1, 6, 500))
    return tmp_path


@pytest.fixture
def kuairec_root(tmp_path: Path) -> Path:
    """A small matrix of users 10..29 and videos 100..139, and a big matrix that reaches into it."""
    rng = np.random.default_rng(1)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(10, 30), np.arange(100, 140), indexing="ij"))
    write_kuairec(tmp_path, kuairec.SMALL, users, items, rng.exponential(size=len(users)).round(4))
    users, items = pairs(rng, 60, 200, 4000)
    write_kuairec(tmp_path, kuairec.BIG, users, items, rng.exponential(size=4000).round(4))
    users, items = np.repeat(np.arange(10, 30), 5), rng.integers(0, 8, 100) * 5 + 100 + np.tile(np.arange(5), 20)
    rows = zip(users, items, rng.exponential(size=100), strict=True)
    (tmp_path / kuairec.EXTRACT).write_text("".join(f"{user},{item},{ratio}\n" for user, item, ratio in rows))
    return tmp_path


def test_yahoo_reads_ids_from_one_as_ids_from_zero(yahoo_root: Path) -> None:
    data = load_yahoo_r3(yahoo_root, verify=False)
    raw = np.loadtxt(yahoo_root / yahoo.TRAIN, dtype=int)
    assert np.array_equal(data.train.users, raw[:, 0] - 1)
    assert np.array_equal(data.train.items, raw[:, 1] - 1)
    assert np.array_equal(data.train.ratings, raw[:, 2])
    assert (data.n_users, data.n_items, len(data.test), data.threshold) == (15_400, 1_000, 500, 3.0)
    assert "no redistribution" in data.describe()


def test_yahoo_packed_and_with_other_line_ends(yahoo_root: Path) -> None:
    plain = load_yahoo_r3(yahoo_root, verify=False)
    for name in (yahoo.TRAIN, yahoo.TEST):
        content = (yahoo_root / name).read_bytes().replace(b"\n", b"\r\n")
        (yahoo_root / f"{name}.gz").write_bytes(gzip.compress(content))
        (yahoo_root / name).unlink()
    packed = load_yahoo_r3(yahoo_root, verify=False)
    assert np.array_equal(plain.train.observed_keys(), packed.train.observed_keys())


def test_yahoo_refuses_another_number_of_ratings_by_default(yahoo_root: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.txt must hold 311704 ratings; got 3000; .*verify=False"):
        load_yahoo_r3(yahoo_root)
    (yahoo_root / yahoo.TEST).unlink()
    with pytest.raises(
        MissingFileError, match=r"lacks ydata-.*-test\.txt \(each also as \.gz\); origin: Yahoo! Webscope"
    ):
        load_yahoo_r3(yahoo_root)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0\t1\t5", r"train\.txt: user must be an integer in 1\.\.15400; got 0 in row 3001"),
        ("15401\t1\t5", r"user must be an integer in 1\.\.15400; got 15401"),
        ("1\t1001\t5", r"item must be an integer in 1\.\.1000; got 1001"),
        ("1\t1\t6", r"rating must be an integer in 1\.\.5; got 6"),
        ("1\t1\t2.5", r"rating must be an integer in 1\.\.5; got 2\.5"),
        ("1\t1", r"train\.txt must have 3 values a line; got 2 in line 3001"),
        ("1,1,5", r"train\.txt must have 3 values a line; got 1 in line 3001"),
        ("1\tone\t5", r"train\.txt: item must be an id.*got 'one' in line 3001"),
    ],
)
def test_yahoo_names_file_and_line(yahoo_root: Path, line: str, text: str) -> None:
    with (yahoo_root / yahoo.TRAIN).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=text):
        load_yahoo_r3(yahoo_root, verify=False)


def test_yahoo_refuses_a_pair_twice(yahoo_root: Path) -> None:
    path = yahoo_root / yahoo.TRAIN
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetError, match=r"train\.txt: each pair must occur once; got .* in row 3001"):
        load_yahoo_r3(yahoo_root, verify=False)


def test_yahoo_at_its_full_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    write_yahoo(tmp_path, yahoo.TRAIN, *pairs(rng, 15_400, 1_000, 311_704), rng.integers(1, 6, 311_704))
    users = np.repeat(np.arange(5_400), 10)
    items = np.argsort(rng.random((5_400, 1_000)), axis=1)[:, :10].ravel()
    write_yahoo(tmp_path, yahoo.TEST, users, items, rng.integers(1, 6, 54_000))
    data = load_yahoo_r3(tmp_path)
    assert (len(data.train), len(data.test)) == (311_704, 54_000)
    assert round(data.train.density, 5) == 0.02024


def test_kuairec_keeps_the_small_block_out_of_train(kuairec_root: Path) -> None:
    data = load_kuairec(kuairec_root, test="full", verify=False)
    raw = np.loadtxt(kuairec_root / kuairec.BIG, delimiter=",", skiprows=1, usecols=(0, 1, 7))
    inside = (raw[:, 0] >= 10) & (raw[:, 0] < 30) & (raw[:, 1] >= 100) & (raw[:, 1] < 140)
    assert 100 < inside.sum() < 1000
    assert np.array_equal(data.train.users, raw[~inside, 0])
    assert np.array_equal(data.train.ratings, raw[~inside, 2].astype(np.float32))
    assert (len(data.test), data.n_users, data.n_items, data.threshold) == (800, 7_176, 10_728, 1.0)
    assert not overlap(data.train, data.test).any()


def test_kuairec_samples_videos_a_user(kuairec_root: Path) -> None:
    full = load_kuairec(kuairec_root, test="full", verify=False).test
    one, again, other = (
        load_kuairec(kuairec_root, per_user=7, random_state=seed, verify=False).test for seed in (0, 0, 1)
    )
    assert (np.bincount(one.users)[10:30] == 7).all()
    assert np.isin(one.observed_keys(), full.observed_keys()).all()
    assert np.array_equal(one.items, again.items)
    assert not np.array_equal(one.items, other.items)
    assert len(load_kuairec(kuairec_root, per_user=83, verify=False).test) == 800


def test_kuairec_takes_the_extract(kuairec_root: Path) -> None:
    extract = load_kuairec_extract(kuairec_root, verify=False)
    data = load_kuairec(kuairec_root, test="extract", verify=False)
    assert np.array_equal(data.test.observed_keys(), extract.observed_keys())
    assert not overlap(data.train, data.test).any()
    (kuairec_root / kuairec.BIG).unlink()
    assert len(load_kuairec_extract(kuairec_root, verify=False)) == 100
    with pytest.raises(MissingFileError, match=r"lacks big_matrix\.csv \(each also as \.gz\)"):
        load_kuairec(kuairec_root, test="extract")


def test_kuairec_merges_repeated_pairs(kuairec_root: Path) -> None:
    with (kuairec_root / kuairec.BIG).open("a") as file:
        file.write("0,0,1,1,t,1,1.0,1.0\n0,0,1,1,t,1,1.0,4.0\n")
    by_rule = {}
    for rule in ("first", "last", "max"):
        train = load_kuairec(kuairec_root, duplicates=rule, verify=False).train
        by_rule[rule] = float(train.ratings[(train.users == 0) & (train.items == 0)][0])
    assert by_rule["last"] == 4.0
    assert by_rule["max"] >= 4.0
    assert by_rule["first"] != 4.0
    with pytest.raises(DatasetError, match=r"big_matrix\.csv: each pair must occur once; got \(user 0, item 0\)"):
        load_kuairec(kuairec_root, duplicates="error", verify=False)


def test_kuairec_checks_content_by_default(kuairec_root: Path) -> None:
    with pytest.raises(DatasetError, match=r"small_matrix\.csv must hold 4676570 rows; got 800"):
        load_kuairec(kuairec_root)
    with pytest.raises(ChecksumError, match=r"random\.txt is not the registered file"):
        load_kuairec_extract(kuairec_root)
    with pytest.raises(UnknownNameError, match="test='sample' does not exist; did you mean 'sampled'"):
        load_kuairec(kuairec_root, test="sample")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("7176,0,1,1,t,1,1.0,1.0", r"big_matrix\.csv: user_id must be in \[0, 7176\); got 7176 in row 4001"),
        ("0,10728,1,1,t,1,1.0,1.0", r"video_id must be in \[0, 10728\); got 10728"),
        ("0,0,1,1,t,1,1.0,-1.0", r"watch_ratio must not be negative; got -1 in row 4001"),
        ("0,0,1,1,t,1,1.0", r"big_matrix\.csv must have 8 values a line; got 7 in line 4002"),
        ("0,0,1,1,t,1,1.0,much", r"watch_ratio must be a finite number; got 'much' in line 4002"),
    ],
)
def test_kuairec_names_file_and_line(kuairec_root: Path, line: str, text: str) -> None:
    with (kuairec_root / kuairec.BIG).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=text):
        load_kuairec(kuairec_root, test="full", verify=False)


def test_kuairec_needs_its_columns(kuairec_root: Path) -> None:
    path = kuairec_root / kuairec.SMALL
    path.write_text(path.read_text().replace("watch_ratio", "ratio", 1))
    with pytest.raises(DatasetError, match=r"small_matrix\.csv must begin with a header that holds watch_ratio once"):
        load_kuairec(kuairec_root, verify=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), st.text("0123456789.,-\t\nx", max_size=80).map(str.encode)))
def test_any_bytes_are_read_or_refused_with_the_files_name(tmp_path: Path, content: bytes) -> None:
    for name in (yahoo.TRAIN, yahoo.TEST, kuairec.EXTRACT):
        (tmp_path / name).write_bytes(content)
    for name in (kuairec.BIG, kuairec.SMALL):
        (tmp_path / name).write_bytes(",".join(kuairec.FIELDS).encode() + b"\n" + content)
    for load in (load_yahoo_r3, load_kuairec, load_kuairec_extract):
        message = ""
        try:
            load(tmp_path, verify=False)
        except DatasetError as error:
            message = str(error)
        assert not message or str(tmp_path) in message


@pytest.mark.data
def test_the_real_extract_has_the_published_numbers(real_root) -> None:
    ratings = load_kuairec_extract(real_root("kuairec"))
    assert len(ratings) == 117_113
    counts = np.bincount(ratings.users)
    assert set(counts[counts > 0]) == {83}
    assert ((counts > 0).sum(), len(np.unique(ratings.items))) == (1411, 2519)
    assert (ratings.users.min(), ratings.users.max()) == (14, 7162)
    assert (ratings.items.min(), ratings.items.max()) == (133, 10552)
    assert round(float(ratings.binarize(1).mean()), 4) == 0.3344
    assert round(float(ratings.binarize(2).mean()), 4) == 0.0495


@pytest.mark.slow
def test_kuairec_at_its_full_size_stays_below_two_gibibytes(tmp_path: Path) -> None:
    """12,530,806 and 4,676,570 rows of the real format; peak memory of the process that reads them."""
    rng = np.random.default_rng(3)
    middle = ",5381,6067,2020-07-05 00:08:23.438,20200705,1593878903.438,"
    users, items = np.arange(1411) * 5, np.arange(3327) * 3
    for name, rows in kuairec.ROWS.items():
        if name == kuairec.EXTRACT:
            continue
        with (tmp_path / name).open("w") as file:
            file.write(",".join(kuairec.FIELDS) + "\n")
            done = 0
            while done < rows:  # users in turn: each pair occurs once
                count = min(500_000, rows - done)
                place = np.arange(done, done + count)
                if name == kuairec.BIG:
                    user, item = place % 7176, (place // 7176 * 6 + place % 7176) % 10728
                else:
                    user, item = users[place // 3327 % 1411], items[place % 3327]
                ratio = rng.exponential(size=count).round(6)
                file.writelines(
                    f"{u},{i}{middle}{r}\n"
                    for u, i, r in zip(user.tolist(), item.tolist(), ratio.tolist(), strict=True)
                )
                done += count
    code = """
        import resource, sys
        from wbm_ext.datasets import load_kuairec
        data = load_kuairec(sys.argv[1], test="full", duplicates="error")
        print(len(data.train), len(data.test), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for name in (kuairec.BIG, kuairec.SMALL):
        (tmp_path / name).unlink()  # a gigabyte
    n_train, n_test, peak = map(int, done.stdout.split())
    assert n_test == 4_676_570
    assert 11_000_000 < n_train < 12_530_806
    assert peak < 2 * 1024**2, f"peak {peak / 1024**2:.2f} GiB"
