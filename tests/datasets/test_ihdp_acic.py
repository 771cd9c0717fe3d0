"""The readers of IHDP and ACIC 2016: on files that only look like them, and on the real ones (marker data)."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbm_ext.datasets import acic, ihdp, load_acic2016, load_ihdp
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError


def write_csv(path: Path, columns: dict[str, object], header: bool) -> None:
    lines = [",".join(f'"{name}"' for name in columns)] if header else []
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")


def change(path: Path, line: int, column: int, value: str) -> None:
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[line - 1][column - 1] = value
    path.write_text("".join(",".join(row) + "\n" for row in rows))


@pytest.fixture
def ihdp_root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=ihdp.N_UNITS).round(6) for name in ihdp.COLUMNS}
    columns |= {"treatment": rng.integers(0, 2, ihdp.N_UNITS), "x14": rng.integers(1, 3, ihdp.N_UNITS)}
    write_csv(tmp_path / "ihdp_npci_1.csv", columns, header=False)
    return tmp_path


@pytest.fixture
def acic_root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    columns: dict[str, object] = {name: rng.integers(0, 900, acic.N_UNITS) for name in acic.NAMES}
    for name, labels in acic.CATEGORIES.items():
        columns[name] = [f'"{label}"' for label in rng.choice(labels, acic.N_UNITS)]
    write_csv(tmp_path / "x.csv", columns, header=True)
    outcomes = {name: rng.normal(size=acic.N_UNITS).round(6) for name in acic.COLUMNS}
    write_csv(tmp_path / "zymu_2.csv", outcomes | {"z": rng.integers(0, 2, acic.N_UNITS)}, header=True)
    return tmp_path


def test_ihdp_reads_every_column(ihdp_root: Path) -> None:
    data = load_ihdp(ihdp_root, verify=False)
    raw = np.loadtxt(ihdp_root / "ihdp_npci_1.csv", delimiter=",")
    assert np.array_equal(data.treatment, raw[:, 0])
    for part, column in (("y", 1), ("y_cf", 2), ("mu0", 3), ("mu1", 4)):
        assert np.array_equal(getattr(data, part), raw[:, column])
    assert np.array_equal(np.delete(data.X, 13, axis=1), np.delete(raw[:, 5:], 13, axis=1))
    assert np.array_equal(data.X[:, 13], raw[:, 18] - 1)
    assert (data.names[13], data.name) == ("x14", "ihdp-1")


def test_acic_reads_every_column(acic_root: Path) -> None:
    data = load_acic2016(acic_root, 2, verify=False)
    lines = [line.replace('"', "").split(",") for line in (acic_root / "x.csv").read_text().splitlines()[1:]]
    frame = data.frame()
    assert frame["x_21"].tolist() == [row[20] for row in lines]
    assert frame["x_58"].tolist() == [float(row[57]) for row in lines]
    assert data.encoded()[0].shape == (4802, 79)
    assert data.encoded(drop_first=False)[0].shape == (4802, 82)
    z, y0, y1, mu0, mu1 = np.loadtxt(acic_root / "zymu_2.csv", delimiter=",", skiprows=1).T
    assert np.array_equal(data.y, np.where(z == 1, y1, y0))
    assert np.array_equal(data.y_cf, np.where(z == 1, y0, y1))
    assert np.array_equal(data.effect(), mu1 - mu0)


def test_packed_files_and_other_line_ends_are_taken(ihdp_root: Path, tmp_path_factory) -> None:
    plain = (ihdp_root / "ihdp_npci_1.csv").read_bytes()
    other = tmp_path_factory.mktemp("other")
    (other / "ihdp_npci_1.csv.gz").write_bytes(gzip.compress(plain.replace(b"\n", b"\r\n")))
    one, two = load_ihdp(ihdp_root, verify=False), load_ihdp(other, verify=False)
    assert np.array_equal(one.X, two.X)
    assert np.array_equal(one.y, two.y)


def test_unregistered_content_is_refused_by_default(ihdp_root: Path, acic_root: Path) -> None:
    with pytest.raises(ChecksumError, match=r"ihdp_npci_1\.csv is not the registered file"):
        load_ihdp(ihdp_root)
    with pytest.raises(ChecksumError, match=r"x\.csv is not the registered file"):
        load_acic2016(acic_root, 2)


def test_missing_files_and_numbers_out_of_range(ihdp_root: Path, acic_root: Path) -> None:
    with pytest.raises(MissingFileError, match=r"lacks ihdp_npci_2\.csv \(or ihdp_npci_2\.csv\.gz\)"):
        load_ihdp(ihdp_root, 2)
    with pytest.raises(ValueError, match=r"realisation must be an integer in 1\.\.10; got 11"):
        load_ihdp(ihdp_root, 11)
    with pytest.raises(TypeError, match="realisation must be an integer of at least 1; got '1'"):
        load_ihdp(ihdp_root, "1")
    with pytest.raises(MissingFileError, match=r"lacks zymu_1\.csv \(each also as \.gz\)"):
        load_acic2016(acic_root)
    with pytest.raises(ValueError, match=r"file must be an integer in 1\.\.10; got 11"):
        load_acic2016(acic_root, 11)


@pytest.mark.parametrize(
    ("line", "column", "value", "text"),
    [
        (
            3,
            2,
            "five",
            r"ihdp_npci_1\.csv: each value must be a finite number; got 'five' at line 3, column 'y_factual'",
        ),
        (3, 6, "nan", r"got 'nan' at line 3, column 'x1'"),
        (3, 6, "", r"got '' at line 3, column 'x1'"),
        (4, 30, "1,0", r"ihdp_npci_1\.csv must have 30 values a line; got 31 in line 4"),
        (2, 1, "0.5", r"treatment must be 0 or 1; got 0\.5 in row 2"),
        (2, 3, '"1', r"must be comma-separated UTF-8 text"),
    ],
)
def test_ihdp_refuses(ihdp_root: Path, line, column, value, text) -> None:
    change(ihdp_root / "ihdp_npci_1.csv", line, column, value)
    with pytest.raises(DatasetError, match=text):
        load_ihdp(ihdp_root, verify=False)


@pytest.mark.parametrize(
    ("filename", "line", "column", "value", "text"),
    [
        ("x.csv", 3, 2, '"Z"', r"each label must be one of A, B, C, D, E, F; got 'Z' at line 3, column 'x_2'"),
        ("x.csv", 1, 2, '"x2"', r"x\.csv must begin with the header x_1,x_2,.*; got x_1,x2,x_3"),
        ("x.csv", 5, 1, "1e999", r"got '1e999' at line 5, column 'x_1'"),
        ("zymu_2.csv", 2, 1, "2", r"z must be 0 or 1; got 2 in row 1"),
        ("zymu_2.csv", 2, 1, "1\n0", r"zymu_2\.csv must have 4802 lines of 5 values; got 4803 lines"),
    ],
)
def test_acic_refuses(acic_root: Path, filename, line, column, value, text) -> None:
    change(acic_root / filename, line, column, value)
    with pytest.raises(DatasetError, match=text):
        load_acic2016(acic_root, 2, verify=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text('0123456789.,-"\nenaif', max_size=200).map(str.encode)))
def test_any_bytes_give_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ihdp_npci_1.csv").write_bytes(content)
    (tmp_path / "x.csv").write_bytes(content)
    (tmp_path / "zymu_1.csv").write_bytes(content)
    for load in (load_ihdp, load_acic2016):
        with pytest.raises(DatasetError, match=str(tmp_path)):
            load(tmp_path, verify=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=4))
def test_bytes_pushed_into_a_good_file_are_named_or_harmless(ihdp_root: Path, place: int, junk: bytes) -> None:
    content = (ihdp_root / "ihdp_npci_1.csv").read_bytes()
    other = ihdp_root / "other"
    other.mkdir(exist_ok=True)
    (other / "ihdp_npci_1.csv").write_bytes(content[:place] + junk + content[place:])
    message = ""
    try:
        assert load_ihdp(other, verify=False).X.shape == (747, 25)
    except DatasetError as error:
        message = str(error)
    assert not message or str(other) in message


@pytest.mark.data
def test_ihdp_has_an_att_of_four_in_each_file(real_root) -> None:
    root = real_root("ihdp")
    published = [4.016, 4.051, 4.099, 4.274, 4.162, 4.004, 3.991, 3.854, 10.466, 4.586]
    spread = [0.859, 0.821, 0.916, 1.937, 2.616, 0.787, 0.292, 1.539, 27.361, 8.884]
    first = load_ihdp(root)
    for realisation in range(1, 11):
        data = load_ihdp(root, realisation)
        assert data.att() == pytest.approx(4.0, abs=1e-9)
        assert round(data.ate(), 3) == published[realisation - 1]
        assert round(float(data.effect().std()), 3) == spread[realisation - 1]
        assert (data.X.shape, int(data.treatment.sum())) == ((747, 25), 139)
        assert np.array_equal(data.X, first.X)
        assert np.array_equal(data.treatment, first.treatment)
    assert np.isin(first.X[:, 6:], [0, 1]).all()


@pytest.mark.data
def test_acic_has_the_published_numbers(real_root) -> None:
    root = real_root("acic2016")
    ate = [2.128, 4.679, 4.752, 4.796, 3.353, 2.928]
    att = [2.722, 4.679, 4.752, 4.683, 3.447, 3.010]
    spread = [3.977, 0, 0, 5.018, 4.530, 2.081]
    naive = [3.582, 5.199, 6.099, 5.941, 4.108, 5.047]
    for file in range(1, 7):
        data = load_acic2016(root, file)
        assert round(data.ate(), 3) == ate[file - 1]
        assert round(data.att(), 3) == att[file - 1]
        assert round(float(data.effect().std()), 3) == spread[file - 1]
        treated = data.treatment == 1
        assert round(float(data.y[treated].mean() - data.y[~treated].mean()), 3) == naive[file - 1]
        noise = data.y - np.where(treated, data.mu1, data.mu0)
        assert abs(noise.std() - 1) < 0.03
    assert data.X.shape == (4802, 58)
    assert abs(data.X).max() == 940
    assert data.encoded()[0].shape[1] == 79
