"""Tables as users have them: quoted, with names that look like numbers, with cells that are wrong, in every command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest

import wbm_ext

COLUMNS = ("--user", "u", "--item", "i", "--rating", "r")
SHORT = ("-p", "epochs=2", "--no-progress")
UNITS = ("--treatment", "t", "--outcome", "y", "--leave-out", "mu0,mu1,id")


def quoted(source: str, target: str) -> None:
    with open(source, newline="") as old, open(target, "w", newline="") as new:
        csv.writer(new, quoting=csv.QUOTE_ALL).writerows(csv.reader(old))


def printed(done) -> pandas.DataFrame:
    assert done.exit_code == 0, done.stderr
    return pandas.read_csv(io.StringIO(done.stdout), dtype=str, na_filter=False)


def test_a_quoted_table_is_the_same_table_in_every_command(wbm, ratings, units) -> None:
    for name in ("train", "test", "units"):
        quoted(f"{name}.csv", f"q-{name}.csv")
    for prefix in ("", "q-"):
        assert (
            wbm("fit", f"{prefix}train.csv", "-s", "naive", *COLUMNS, *SHORT, "--out", f"{prefix}m.pt").exit_code == 0
        )
    for words in (("predict",), ("evaluate", "--json")):
        plain, same = (wbm(words[0], f"{p}test.csv", "-m", f"{p}m.pt", *words[1:]) for p in ("", "q-"))
        assert plain.exit_code == same.exit_code == 0, same.stderr
        assert plain.stdout == same.stdout
    plain, same = (wbm("effect", f"{p}units.csv", "-s", "ols", *UNITS, "--no-progress") for p in ("", "q-"))
    assert plain.exit_code == 0, plain.stderr
    assert plain.stdout == same.stdout.replace("q-units", "units")


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_names_that_look_like_numbers_stay_apart(end: str, wbm, ratings) -> None:
    frame = pandas.read_csv("train.csv")
    names = {0: "000", 1: "1", 2: "01", 3: "NA", 4: "1.0", 5: "1e0", 6: "None", 7: "-1"}
    frame["u"] = [names.get(user, f"u{user}") for user in frame["u"]]
    frame.to_csv("n.csv", index=False)
    frame.to_parquet("n.parquet", index=False)
    assert wbm("fit", f"n.{end}", "-s", "naive", *COLUMNS, *SHORT, "--out", "n.pt").exit_code == 0
    fitted = wbm_ext.load("n.pt")
    assert set(names.values()) <= set(fitted.observed_.user_labels.tolist())
    table = printed(wbm("predict", f"n.{end}", "-m", "n.pt"))
    assert table["u"].tolist() == frame["u"].tolist()
    ids = np.searchsorted(fitted.observed_.user_labels, frame["u"].to_numpy(dtype=str))
    items = np.searchsorted(fitted.observed_.item_labels, frame["i"].astype(str).to_numpy(dtype=str))
    np.testing.assert_allclose(table["probability"].astype(float), fitted.predict(ids, items), rtol=1e-6)
    assert printed(wbm("recommend", "-m", "n.pt", "-u", "01,1.0", "-k", 1))["user"].tolist() == ["01", "1.0"]


def test_ids_with_gaps_are_names_and_a_huge_one_takes_no_memory(wbm, ratings) -> None:
    frame = pandas.read_csv("train.csv")
    frame.assign(i=frame["i"] * 29 + 2).to_csv("gaps.csv", index=False)
    done = wbm("fit", "gaps.csv", "-s", "naive", *COLUMNS, *SHORT, "--out", "g.pt")
    assert done.exit_code == 0
    assert "the 40 users and 50 items are names" in done.stderr
    done = wbm("fit", "gaps.csv", "-s", "naive", *COLUMNS, *SHORT, "--no-labels", "--out", "h.pt")
    assert "i has 50 different ids, but the largest is 1423" in done.stderr
    frame.assign(i=frame["i"].replace(7, 2**40)).to_csv("huge.csv", index=False)
    assert wbm("fit", "huge.csv", "-s", "naive", *COLUMNS, *SHORT, "--out", "i.pt").exit_code == 0
    assert wbm_ext.load("i.pt").n_items_ == 50
    done = wbm("fit", "huge.csv", "-s", "naive", *COLUMNS, *SHORT, "--no-labels", "--out", "j.pt")
    assert done.exit_code == 2
    assert "memory" in done.stderr.splitlines()[-1]
    assert not Path("j.pt").exists()


def test_evaluate_reads_as_the_fit_did(wbm, ratings) -> None:
    for name in ("train", "test"):
        frame = pandas.read_csv(f"{name}.csv")
        again = frame.iloc[:5].assign(r=1)
        hidden = frame.iloc[5:9].assign(seen=0)
        pandas.concat([frame.drop(index=range(5, 9)).assign(seen=1), again.assign(seen=1), hidden]).to_csv(f"s-{name}.csv", index=False)  # fmt: skip
    words = ("--observed", "seen", "--duplicates", "first")
    assert wbm("fit", "s-train.csv", "-s", "naive", *COLUMNS, *words, *SHORT, "--out", "s.pt").exit_code == 0
    metrics = json.loads(wbm("evaluate", "s-test.csv", "-m", "s.pt", "--json").stdout)["metrics"]
    assert metrics["pairs"] == 400 - 4
    again = json.loads(wbm("evaluate", "s-test.csv", "-m", "s.pt", "--json", *words).stdout)["metrics"]
    assert again == metrics
    assert "each pair must occur once" in wbm("evaluate", "s-test.csv", "-m", "s.pt", "--duplicates", "error").stderr


def test_unknown_users_are_named_or_left_out_and_counted(wbm, ratings) -> None:
    assert wbm("fit", ratings, "-s", "naive", *COLUMNS, *SHORT, "--out", "m.pt").exit_code == 0
    rows = Path("test.csv").read_text().splitlines()
    Path("new.csv").write_text("\n".join([*rows, "ann,3,5", "4,999,1"]))
    for command in ("predict", "evaluate"):
        done = wbm(command, "new.csv", "-m", "m.pt")
        assert done.exit_code == 2
        assert f"in line {len(rows) + 1}" in done.stderr
        assert "ann" in done.stderr
    done = wbm("predict", "new.csv", "-m", "m.pt", "--skip-unknown")
    assert "2 of 402 rows have a user or an item that the model does not know" in done.stderr
    assert len(printed(done)) == 400
    Path("new.csv").write_text("\n".join([*rows, "4,999,1"]))
    done = wbm("evaluate", "new.csv", "-m", "m.pt", "--skip-unknown", "--json")
    assert json.loads(done.stdout)["metrics"]["pairs"] == 400
    assert "1 of 401 rows" in done.stderr


@pytest.mark.parametrize("cell", ["1,5", "?", "n.a."])
@pytest.mark.parametrize("command", ["fit", "effect", "predict", "evaluate"])
def test_one_bad_cell_stops_every_command_and_is_named(command: str, cell: str, wbm, units) -> None:
    small = ("-p", "epochs=1", "-p", "representation=[4]", "-p", "heads=[4]", "-p", "selection=none", "--no-progress")
    frame = pandas.read_csv("units.csv", dtype=str)
    frame.loc[3, "x3"] = cell
    frame.to_csv("bad.csv", index=False)
    if command in ("predict", "evaluate"):
        assert wbm("fit", "units.csv", "-s", "tarnet", *UNITS, *small, "--out", "m.pt").exit_code == 0
        done = wbm(command, "bad.csv", "-m", "m.pt")
    else:
        extra = small if command == "fit" else ("--no-progress",)
        done = wbm(command, "bad.csv", "-s", "tarnet" if command == "fit" else "ols", *UNITS, *extra)
    assert done.exit_code == 2
    assert f"bad.csv: column 'x3' holds numbers but for 1 of 240 cells, the first {cell!r} in line 5" in done.stderr


def test_a_second_column_of_one_name_is_refused_in_every_command(wbm, ratings, units) -> None:
    assert wbm("fit", ratings, "-s", "naive", *COLUMNS, *SHORT, "--out", "m.pt").exit_code == 0
    Path("two.csv").write_text("u,i,r,u\n0,1,5,1\n1,0,2,1\n")
    for words in (("fit", "two.csv", "-s", "naive", *COLUMNS), ("predict", "two.csv", "-m", "m.pt"), ("evaluate", "two.csv", "-m", "m.pt"), ("effect", "two.csv", "-s", "ols", *UNITS)):  # fmt: skip
        assert "two.csv must have columns of different names; got 'u' 2 times" in wbm(*words).stderr


def test_a_category_of_numbers_is_one_in_parquet_and_csv(wbm) -> None:
    rng = np.random.default_rng(0)
    group, t = np.tile([1, 2, 3], 80), rng.integers(0, 2, 240)
    y = np.array([0, -5, 9, 0])[group] + 2.0 * t
    frame = pandas.DataFrame({"g": pandas.Categorical(group), "x": rng.normal(size=240), "t": t, "y": y})
    frame.to_parquet("u.parquet")
    frame.to_csv("u.csv", index=False)
    roles = ("--treatment", "t", "--outcome", "y", "--no-progress")
    exact = wbm("effect", "u.parquet", "-s", "ols", *roles, "--out", "a.csv")
    assert wbm("effect", "u.csv", "-s", "ols", *roles, "--categorical", "g", "--out", "b.csv").exit_code == 0
    assert exact.exit_code == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    assert pandas.read_csv("a.csv")["effect"].to_numpy() == pytest.approx(2.0)
    small = ("-p", "epochs=1", "-p", "representation=[4]", "-p", "heads=[4]", "-p", "selection=none")
    assert wbm("fit", "u.parquet", "-s", "tarnet", *roles, *small, "--out", "m.pt").exit_code == 0
    assert wbm("predict", "u.csv", "-m", "m.pt").stdout == wbm("predict", "u.parquet", "-m", "m.pt").stdout


def test_identifiers_dates_and_missing_values_are_refused_with_the_option(wbm, units) -> None:
    frame = pandas.read_csv("units.csv", dtype=str)
    frame["day"], frame["name"] = [f"2021-01-{1 + k % 28:02d}" for k in range(240)], [f"n{k}" for k in range(240)]
    frame.to_csv("w.csv", index=False)
    words = ("effect", "w.csv", "-s", "ols", *UNITS[:4], "--no-progress", "--leave-out")
    assert "column 'day' holds dates" in wbm(*words, "mu0,mu1,id,name").stderr
    assert "column 'name' holds 240 different labels in 240 rows" in wbm(*words, "mu0,mu1,id,day").stderr
    done = wbm(*words, "mu0,mu1,name,day")
    assert "warning: X: column 'id' numbers the rows; leave it out (--leave-out id)" in done.stderr
    frame.loc[5, "x2"] = ""
    frame.to_csv("w.csv", index=False)
    done = wbm(*words, "mu0,mu1,id,name,day")
    assert "w.csv: 1 values are missing, the first in line 7, column 'x2'; -p missing=impute" in done.stderr
    assert wbm(*words, "mu0,mu1,id,name,day", "-p", "missing=impute").exit_code == 0


def test_a_treatment_of_two_words_needs_the_treated_one_if_it_is_not_plain(wbm, units) -> None:
    frame = pandas.read_csv("units.csv")
    for name, words in (("a", {0: "no", 1: "yes"}), ("b", {0: "placebo", 1: "drug"})):
        frame.assign(t=frame["t"].map(words)).to_csv(f"{name}.csv", index=False)
    words = ("-s", "ols", *UNITS, "--no-progress")
    plain = wbm("effect", "units.csv", *words).stdout
    assert wbm("effect", "a.csv", *words).stdout == plain.replace("units.csv", "a.csv")
    assert "say which one is treated (--treated)" in wbm("effect", "b.csv", *words).stderr
    done = wbm("effect", "b.csv", *words, "--treated", "drug", "--id", "id", "--out", "e.csv")
    assert done.exit_code == 0, done.stderr
    assert pandas.read_csv("e.csv")["id"].tolist() == list(range(240))


def test_a_fit_that_diverges_ends_with_code_1_and_one_line(wbm, units) -> None:
    done = wbm("fit", units, "-s", "tarnet", *UNITS, "-p", "learning_rate=1e30", "-p", "epochs=3", "--no-progress")
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "became" in done.stderr


@pytest.mark.parametrize("words", [("naive", "-p", "embedding_dim=1000000000000"), ("tarnet", "-p", "representation=[100000000000]")])  # fmt: skip
def test_absurd_sizes_end_with_one_line(words, wbm, ratings, units) -> None:
    table = (ratings, *COLUMNS) if words[0] == "naive" else (units, *UNITS)
    done = wbm("fit", table[0], "-s", *words, *table[1:], "--no-progress")
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "memory" in done.stderr
