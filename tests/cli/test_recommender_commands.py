"""fit, evaluate, predict and recommend on a user's own ratings: the same figures as the library gives."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas
import pytest

import wbm_ext
from wbm_ext.datasets import read_ratings
from wbm_ext.metrics import auc
from wbm_ext.recommender import create

COLUMNS = ("--user", "u", "--item", "i", "--rating", "r")
SHORT = ("-p", "epochs=2", "--no-progress")


@pytest.fixture
def model(wbm, ratings):
    assert wbm("fit", ratings, "--system", "ips-wbm", *COLUMNS, *SHORT, "--out", "m.pt").exit_code == 0
    return Path("m.pt")


def test_fit_saves_what_the_library_fits(wbm, ratings, model):
    expected = create("ips-wbm", epochs=2, random_state=0).fit(read_ratings(ratings, user="u", item="i", rating="r"))
    found = wbm_ext.load(model)
    assert found.epochs == 2
    np.testing.assert_array_equal(found.predict([0, 3], [1, 2]), expected.predict([0, 3], [1, 2]))


def test_the_run_file_repeats_the_run(wbm, ratings, model):
    written = tomllib.loads(Path("m.toml").read_text())
    assert written["command"] == "fit"
    assert written["parameter"] == {"epochs": 2}
    assert wbm("fit", "--config", "m.toml", "--out", "again.pt").exit_code == 0
    first, second = (wbm_ext.load(path).predict([0] * 50, range(50)) for path in ("m.pt", "again.pt"))
    np.testing.assert_array_equal(first, second)
    assert wbm("fit", "--config", "m.toml", "--out", "other.pt", "--seed", 1).exit_code == 0  # the line goes first
    assert not np.array_equal(wbm_ext.load("other.pt").predict([0] * 50, range(50)), first)


def test_evaluate_prints_the_metrics_and_holds_goals(wbm, model):
    test = read_ratings("test.csv", user="u", item="i", rating="r")
    fitted = wbm_ext.load(model)
    expected = auc(test.binarize(3), fitted.predict(test.users, test.items))
    done = wbm("evaluate", "test.parquet", "--model", model, "--json")  # column names from the run file of the fit
    assert done.exit_code == 0
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["auc"] == expected
    assert metrics["pairs"] == 400
    assert {"ndcg@5", "f1@5", "brier", "auc_unseen"} <= set(metrics)
    scores, labels = fitted.predict(test.users, test.items).astype(float), test.binarize(3)
    error = -np.where(labels > 0, np.log(scores), np.log1p(-scores))
    weight = 1 / fitted.propensity(test.users, test.items).astype(float)
    assert metrics["log_loss"] == pytest.approx(error.mean())
    assert metrics["log_loss_snips"] == pytest.approx((weight * error).sum() / weight.sum())
    first = pandas.DataFrame({"u": test.users, "i": test.items, "y": labels, "s": scores})
    first = first.sort_values(["u", "s"], ascending=[True, False], kind="stable").groupby("u").head(5)
    assert metrics["precision@5"] == pytest.approx(first.groupby("u")["y"].sum().mean() / 5)
    assert metrics["hit_rate@5"] == pytest.approx(first.groupby("u")["y"].max().mean())
    assert metrics["coverage@5"] == pytest.approx(first["i"].nunique() / 50)
    assert wbm("evaluate", "test.csv", "-m", model, "--at-least", "auc=0").exit_code == 0
    missed = wbm("evaluate", "test.csv", "-m", model, "--at-least", "auc=0.999", "--at-most", "brier=1")
    assert missed.exit_code == 1
    assert "goal missed: auc must be at least 0.999" in missed.stderr
    assert "brier must" not in missed.stderr


def test_predict_and_recommend_give_tables(wbm, model):
    fitted = wbm_ext.load(model)
    done = wbm("predict", "test.csv", "--model", model, "--propensity")
    table = pandas.read_csv(io.StringIO(done.stdout))
    assert list(table) == ["u", "i", "probability", "propensity"]
    np.testing.assert_allclose(table["probability"], fitted.predict(table["u"], table["i"]), rtol=1e-6)
    done = wbm("recommend", "--model", model, "--users", "3,5", "-k", 4, "--out", "best.parquet")
    assert done.exit_code == 0
    table = pandas.read_parquet("best.parquet")
    assert table["user"].tolist() == [3] * 4 + [5] * 4
    assert table["item"][:4].tolist() == fitted.recommend(3, 4)[0].tolist()
    assert wbm("recommend", "--config", "best.toml", "--out", "again.csv").exit_code == 0
    assert len(pandas.read_csv("again.csv")) == 8
    assert len(wbm("recommend", "-m", model, "-u", "all", "-k", 1).stdout.splitlines()) == 1 + 40


def test_an_interrupted_fit_goes_on(wbm, ratings):
    words = ("fit", ratings, "-s", "naive", *COLUMNS, "--no-progress", "--checkpoint", "run.ckpt", "-p")
    assert wbm(*words, "epochs=2", "--out", "short.pt").exit_code == 0
    assert wbm(*words, "epochs=4", "--out", "long.pt", "--resume").exit_code == 0
    assert wbm(*words[:-3], "-p", "epochs=4", "--out", "whole.pt").exit_code == 0
    long, whole = (wbm_ext.load(path).predict([0] * 50, range(50)) for path in ("long.pt", "whole.pt"))
    np.testing.assert_array_equal(long, whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "train.csv", "-s", "ipz", *COLUMNS), "did you mean 'ips'"),
        (("fit", "train.csv", "-s", "ips", *COLUMNS, "-p", "epoch=3"), "did you mean 'epochs'"),
        (("fit", "train.csv", "-s", "ips", *COLUMNS, "-p", "epochs"), "--parameter must be name=value"),
        (("fit", "train.csv", "-s", "ips", *COLUMNS, "-p", "epochs=many"), "epochs must be an integer"),
        (("fit", "train.csv", "-s", "ips"), "train.csv: column='user' does not exist; did you mean 'u'"),
        (("fit", "train.csv", "-s", "ips", *COLUMNS, "--treatment", "t"), "--treatment does not go with system 'ips'"),
        (("fit", "train.csv", "-s", "ips", *COLUMNS, "--device", "cuda:99"), "cuda:99"),
        (
            ("fit", "train.csv", "-s", "ips", *COLUMNS, "--out", "none/m.pt"),
            "--out none/m.pt cannot be written: the folder none does not exist",
        ),
        (("fit", "nothing.csv", "-s", "ips", *COLUMNS), "there is no file nothing.csv"),
        (("fit", "train.json", "-s", "ips", *COLUMNS), "must end in .csv"),
        (("fit", "--config", "nothing.toml"), "there is no run file nothing.toml"),
        (("fit", "--config", "train.csv"), "train.csv is no TOML file"),
        (("recommend", "--config", "m.toml"), "is a run of 'wbm fit', not of 'wbm recommend'"),
        (("evaluate", "test.csv", "-m", "train.csv"), "train.csv is not a wbm_ext model"),
        (("evaluate", "test.csv", "-m", "m.pt", "--at-least", "acu=1"), "did you mean 'auc'"),
        (("evaluate", "test.csv", "-m", "m.pt", "--at-least", "auc=high"), "the goal of auc must be a number"),
        (("evaluate", "test.csv", "-m", "m.pt", "--at-most", "brier"), "--at-most must be name=value, e.g. auc=0.7"),
        (("predict", "train.csv", "-m", "m.pt", "--user", "uu"), "did you mean 'u'"),
        (("predict", "train.csv", "-m", "m.pt", "--out", "o.xlsx"), "o.xlsx must end in .csv"),
        (("recommend", "-m", "m.pt", "-u", "99"), "--users: the model knows no user '99', only the ids 0..39"),
        (("recommend", "-m", "m.pt", "-u", "anna"), "the model knows no user 'anna'"),
        (("recommend", "-m", "m.pt", "-u", " , "), "--users must be users joined by commas, or 'all'"),
        (("effect", "train.csv", "-m", "m.pt"), "it estimates no effects"),
        (("effect", "train.csv", "-s", "ips"), "it estimates no effects"),
        (("effect", "train.csv"), "give either --model"),
    ],
)
def test_errors_are_one_sentence_and_code_2(wbm, ratings, model, words, message):
    before = set(Path.cwd().iterdir())
    done = wbm(*words, *(["--no-progress"] if words[0] in ("fit", "effect") else []))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert set(Path.cwd().iterdir()) == before


def named(path: str) -> pandas.DataFrame:
    """The table with names for users and items, in the order of the ids."""
    frame = pandas.read_csv(path)
    return frame.assign(u=frame["u"].map("user {:02d}".format), i=frame["i"].map("no. {:02d}, new".format))


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_names_are_numbered_kept_and_given_back(wbm, ratings, model, end):
    for name in ("train", "test"):
        table = named(f"{name}.csv")
        table.to_csv(f"n-{name}.csv", index=False)
        table.to_parquet(f"n-{name}.parquet", index=False)
    done = wbm("fit", f"n-train.{end}", "--system", "ips-wbm", *COLUMNS, *SHORT, "--out", "n.pt")
    assert done.exit_code == 0, done.stderr
    plain, fitted = wbm_ext.load(model), wbm_ext.load("n.pt")
    assert fitted.observed_.user_labels.tolist() == [f"user {k:02d}" for k in range(40)]
    np.testing.assert_array_equal(fitted.predict([0, 3], [1, 2]), plain.predict([0, 3], [1, 2]))
    words = ("evaluate", f"n-test.{end}", "-m", "n.pt", "--json")
    assert json.loads(wbm(*words).stdout) == json.loads(wbm("evaluate", "test.csv", "-m", model, "--json").stdout)
    table = pandas.read_csv(io.StringIO(wbm("predict", f"n-test.{end}", "-m", "n.pt").stdout))
    assert table["u"].tolist() == named("test.csv")["u"].tolist()
    expected = pandas.read_csv(io.StringIO(wbm("predict", "test.csv", "-m", model).stdout))
    np.testing.assert_array_equal(table["probability"], expected["probability"])
    table = pandas.read_csv(io.StringIO(wbm("recommend", "-m", "n.pt", "-u", "user 03,user 05", "-k", 4).stdout))
    best = pandas.read_csv(io.StringIO(wbm("recommend", "-m", model, "-u", "3,5", "-k", 4).stdout))
    assert table["user"].tolist() == ["user 03"] * 4 + ["user 05"] * 4
    assert table["item"].tolist() == best["item"].map("no. {:02d}, new".format).tolist()


def test_a_name_that_the_fit_did_not_see_is_told(wbm, ratings):
    named("train.csv").to_csv("n.csv", index=False)
    assert wbm("fit", "n.csv", "-s", "naive", *COLUMNS, *SHORT, "--out", "n.pt").exit_code == 0
    done = wbm("recommend", "-m", "n.pt", "-u", "user 03,bob")
    assert done.exit_code == 2
    assert "the model knows no user 'bob', only the 40 of its fit" in done.stderr
    done = wbm("predict", "train.csv", "-m", "n.pt")
    assert "the model knows no user '0', only the 40 of its fit, in line 2, column 'u'" in done.stderr
    assert wbm("fit", "n.csv", "-s", "naive", *COLUMNS, *SHORT, "--no-labels").exit_code == 2
    # a name that comes later than the first row makes names of all; refused ones are named with the way out
    text = Path("train.csv").read_text().splitlines()
    Path("late.csv").write_text("\n".join([*text, "ann,0,4"]))
    assert wbm("fit", "late.csv", "-s", "naive", *COLUMNS, *SHORT, "--out", "late.pt").exit_code == 0
    assert "ann" in wbm_ext.load("late.pt").observed_.user_labels
    done = wbm("fit", "late.csv", "-s", "naive", *COLUMNS, *SHORT, "--no-labels", "--out", "no.pt")
    assert f"got 'ann' in line {len(text) + 1}; labels=True (--labels) takes names" in done.stderr


def test_a_run_file_with_an_unknown_option_names_the_nearest(wbm, ratings):
    Path("run.toml").write_text('command = "fit"\nsistem = "ips"\n')
    assert "did you mean 'system'" in wbm("fit", ratings, "--config", "run.toml").stderr


def test_another_process_reads_the_model_and_no_traceback_leaves_it(ratings, model):
    command = [sys.executable, "-m", "wbm_ext", "recommend", "-m", str(model), "-u", "0", "-k", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[0] == "user,rank,item,probability"
    done = subprocess.run([*command, "--users", "1000"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
