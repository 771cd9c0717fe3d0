"""Table files: RFC 4180 text and Parquet give the same columns, and what is wrong is named with line and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wbm_ext.datasets.cells import label_of, parse_number
from wbm_ext.datasets.text import read_table
from wbm_ext.errors import DatasetError, MissingFileError, UnknownNameError


def written(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        'user,item\n"a, b",1\nc,"2"\n',
        '"user","item"\n"a, b","1"\n"c","2"\n',
        'user,item\r\n"a, b",1\r\nc,2\r\n',
        '\ufeffuser,item\n"a, b",1\n\nc,2',
        'user , item\n "a, b" ,1\n c ,2\n'.replace(' "a, b" ', '"a, b"'),
    ],
)
def test_quotes_line_ends_and_blanks_are_read_as_they_are_meant(text: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, text))
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "user": ["a, b", "c"],
        "item": ["1", "2"],
    }


def test_a_cell_with_line_ends_and_quotes_keeps_them_and_the_lines_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n"x\ny ""z""",1\n\nlast,one\n')
    table = read_table(path)
    assert table.columns["a"].tolist() == ['x\ny "z"', "last"]
    assert table.lines is not None
    assert table.lines.tolist() == [2, 5]
    with pytest.raises(DatasetError, match=r"t\.csv: b must be a finite number; got 'one' in line 5, column 'b'"):
        table.numbers("b")


@pytest.mark.parametrize("end", ["csv", "csv.gz", "tsv", "txt", "parquet"])
def test_every_kind_of_file_gives_the_same_ids(end: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["000", "1", "01", "NA", "None", "1e3", "nan"], "x": [0.1, 2, 3, 4, 5, 6, 7]})
    path = tmp_path / f"t.{end}"
    if end == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if "csv" in end else "\t")
    table = read_table(path)
    assert table.labels("id") == frame["id"].tolist()
    assert table.numbers("x").tolist() == frame["x"].tolist()


@pytest.mark.parametrize("values", [[3, 12, 7], pd.Categorical([3, 12, 7]), pd.array([3, 12, 7], dtype="Int64")])
def test_numbers_as_names_are_the_same_text_in_parquet_and_csv(values, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": values})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    for end in ("csv", "parquet"):
        assert read_table(tmp_path / f"t.{end}").labels("id") == ["3", "12", "7"]


def test_large_ids_of_parquet_lose_no_digit_beside_missing_ones(tmp_path: Path) -> None:
    large = 2**53 + 1
    pd.DataFrame({"id": pd.array([large, None], dtype="Int64")}).to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.column("id").tolist() == [large, None]
    with pytest.raises(DatasetError, match=r"id must not be empty; got nothing in row 2"):
        table.labels("id")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with a header"),
        ("\n1,2\n", "must begin with a header"),
        ("a,b\n", "at least one row"),
        ("a,b,a\n1,2,3\n", "different names; got 'a' 2 times"),
        ("a,,\n1,2,3\n", "different names; got an empty name 2 times"),
        ("a,b\n1,2\n3\n", "must have 2 cells a line, as its header has; got 1 in line 3"),
        ("a,b\n1,2\n\n3,4,5\n", "must have 2 cells a line, as its header has; got 3 in line 4"),
        ('a,b\n1,"2\n3,4\n', "cannot be read as a table of text"),
        ('a,b\n1,"2"3\n', "cannot be read as a table of text"),
        (b"a,b\n1,\xe9\n", "must be UTF-8 text; got the byte 0xe9"),
        ("a;b\n1;2\n", "seems to be separated by semicolons"),
        ("a\tb\n1\t2\n", "seems to be separated by tabs, not by ',': give it the end .tsv"),
    ],
)
def test_what_is_no_table_is_named(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read_table(written(tmp_path, text))


def test_missing_files_columns_and_damage_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no file .*t\.csv"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UnknownNameError, match=r"t\.csv: column='use' does not exist; did you mean 'user'"):
        read_table(written(tmp_path, "user\n1\n"), ["use"])
    with pytest.raises(DatasetError, match=r"t\.csv\.gz cannot be read"):
        read_table(written(tmp_path, gzip.compress(b"a,b\n1,2\n" * 500)[:-20], "t.csv.gz"))
    pd.DataFrame({"d": pd.to_datetime(["2020-01-02"]), "l": [[1, 2]]}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").labels("d") == ["2020-01-02 00:00:00"]


@pytest.mark.parametrize("cell", ["1,5", "?", "-", "n.a.", "1_000", "inf", "1e999", "0x10", "٣", "12 000"])
def test_a_cell_that_is_no_number_names_line_and_column(cell: str, tmp_path: Path) -> None:
    rows = [f'{value},"{cell if value == 7 else value / 3}"' for value in range(30)]
    table = read_table(written(tmp_path, "y,x\n" + "\n".join(rows)))
    message = rf"t\.csv: column 'x' holds numbers but for 1 of 30 cells, the first '{cell}' in line 9".replace(
        "?", r"\?"
    )
    with pytest.raises(DatasetError, match=message):
        table.covariates(["x"])
    with pytest.raises(DatasetError, match="in line 9, column 'x'"):
        table.numbers("x")
    assert len(table.covariates(["x"], labels=["x"])["x"].cat.categories) == 30


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "null", "N/A", "None"])
def test_a_missing_number_is_missing_and_no_label(cell: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, f"x,y\n1.5,0\n{cell},0\n2,0\n"))
    np.testing.assert_array_equal(table.covariates(["x"])["x"], [1.5, np.nan, 2])
    with pytest.raises(DatasetError, match=r"x must be a finite number; got .* in line 3, column 'x'"):
        table.numbers("x")


@pytest.mark.parametrize("dtype", ["category", "string", "bool"])
def test_parquet_keeps_what_its_types_say(dtype: str, tmp_path: Path) -> None:
    values = [True, False] if dtype == "bool" else ["1", "2"]
    pd.DataFrame({"x": pd.Series(values, dtype=dtype)}).to_parquet(tmp_path / "t.parquet")
    column = read_table(tmp_path / "t.parquet").covariates(["x"])["x"]
    assert column.tolist() == ([1.0, 0.0] if dtype == "bool" else ["1", "2"])


@pytest.mark.parametrize(
    ("cells", "treated", "expected"),
    [
        ("01", None, [0, 1]),
        (["no", "yes"], None, [0, 1]),
        (["Yes", "No"], None, [1, 0]),
        (["True", "False"], None, [1, 0]),
        (["1.0", "0.0"], None, [1, 0]),
        (["control", "treatment"], None, [0, 1]),
        (["drug", "placebo"], "drug", [1, 0]),
        (["2", "1"], "2", [1, 0]),
    ],
)
def test_two_values_are_a_treatment(cells, treated, expected, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "t,x\n" + "".join(f"{cell},0\n" for cell in cells)))
    assert table.treatments("t", treated).tolist() == expected


@pytest.mark.parametrize(
    ("cells", "treated", "message"),
    [
        (["drug", "placebo"], None, r"got 2: 'drug', 'placebo'; say which one is treated \(--treated\)"),
        (["drug", "placebo"], "drugs", "must hold the treated value 'drugs'; got 'drug', 'placebo'"),
        (["0", "1", "2"], None, "must be a treatment of two values, 0 and 1 say; got 3: '0', '1', '2'"),
        (["1", ""], None, "t must not be empty; got nothing in line 3"),
        (["a", "a"], None, "got 1: 'a'"),
    ],
)
def test_a_treatment_that_is_none_is_named(cells, treated, message, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "t,x\n" + "".join(f"{cell},0\n" for cell in cells)))
    with pytest.raises(DatasetError, match=message):
        table.treatments("t", treated)


def test_a_label_is_the_same_text_whatever_its_type() -> None:
    assert {label_of(value) for value in (7, 7.0, np.int64(7), np.float32(7), "7")} == {"7"}
    assert label_of(True) == label_of(np.bool_(True)) == "True"
    assert [parse_number(value) for value in (" 7 ", "+7", "7.", "7e0", 7, np.float32(7))] == [7.0] * 6
