"""wbm split: every row goes to one part, as it stood; dates and numbers are times."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest


def test_every_row_goes_to_one_part_as_it_stood(wbm) -> None:
    rows = [f'"ann, {k % 5}",{k:03d},{k / 3},2021-{1 + k % 12:02d}-0{1 + k % 9}' for k in range(60)]
    Path("r.csv").write_text("user,item,rating,day\n" + "\n".join(rows))
    for words in (("--ratio", "0.25"), ("--ratio", "0.25", "--time", "day"), ("--leave-one-out", "--time", "day")):
        assert wbm("split", "r.csv", *words, "--out", "parts").exit_code == 0, words
        train, test = (pandas.read_csv(f"parts/{name}.csv", dtype=str) for name in ("train", "test"))
        both = pandas.concat([train, test]).sort_values("item", ignore_index=True)
        pandas.testing.assert_frame_equal(both, pandas.read_csv("r.csv", dtype=str))
        assert len(test) == (5 if "--leave-one-out" in words else 15)
        if words == ("--ratio", "0.25", "--time", "day"):
            assert test["day"].min() >= train["day"].max()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ratio", "2"), "ratio must be a finite number in [0, 1]"),
        (("--ratio", ".5", "--leave-one-out"), "give either --ratio or --leave-one-out"),
        (("--time", "item"), "item must hold times, numbers or dates such as 2021-03-05; got '1' in line 2"),
        (("--leave-one-out", "--user", "who"), "column='who' does not exist"),
        (("--out", "."), "would replace the table train.csv, which is read"),
    ],
)
def test_splits_that_cannot_be_are_one_sentence(words, message, wbm) -> None:
    Path("train.csv").write_text("user,item,rating\na,1,2\nb,x,3\na,2,2\nb,1,5\n")
    done = wbm("split", "train.csv", "--out", "parts", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert Path("train.csv").read_text().startswith("user,item,rating\na,1,2")
