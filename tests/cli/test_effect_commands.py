"""fit, evaluate, predict and effect on a user's own units: the same figures as the library gives."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest

import wbm_ext
from wbm_ext.ite import create

ROLES = ("--treatment", "t", "--outcome", "y", "--leave-out", "mu0,mu1,id")
SMALL = ("-p", "epochs=2", "-p", "representation=[8]", "-p", "heads=[8]", "-p", "selection=none", "--no-progress")


def covariates(path="units.csv"):
    return pandas.read_csv(path).drop(columns=["id", "t", "y", "mu0", "mu1"])


@pytest.fixture
def model(wbm, units):
    done = wbm("fit", "units.parquet", "--system", "escfr", *ROLES, *SMALL, "--out", "m.pt")
    assert done.exit_code == 0
    assert "escfr: 240 units, 11 covariates" in done.stdout
    return Path("m.pt")


def test_fit_saves_what_the_library_fits(wbm, model):
    frame = pandas.read_csv("units.csv")
    small = {"epochs": 2, "representation": [8], "heads": [8], "selection": None, "random_state": 0}
    expected = create("escfr", **small).fit(covariates(), frame["y"], treatment=frame["t"]).effect(covariates())
    np.testing.assert_array_equal(wbm_ext.load(model).effect(covariates()), expected)
    assert wbm("fit", "--config", "m.toml", "--out", "again.pt").exit_code == 0
    np.testing.assert_array_equal(wbm_ext.load("again.pt").effect(covariates()), expected)


def test_chosen_covariates_alone_are_used(wbm, units):
    done = wbm("fit", units, "-s", "tarnet", *ROLES[:4], "--covariates", "x3, x1", *SMALL, "--out", "m.pt")
    assert done.exit_code == 0
    assert wbm_ext.load("m.pt").feature_names_in_.tolist() == ["x3", "x1"]


def test_evaluate_has_the_truth_where_it_is_given(wbm, model):
    metrics = json.loads(wbm("evaluate", "units.csv", "-m", model, "--json").stdout)["metrics"]
    assert "pehe" not in metrics
    done = wbm("evaluate", "units.csv", "-m", model, "--mu0", "mu0", "--mu1", "mu1", "--json", "--at-most", "pehe=9")
    assert done.exit_code == 0
    frame = pandas.read_csv("units.csv")
    error = wbm_ext.load(model).effect(covariates()) - (frame["mu1"] - frame["mu0"])
    assert json.loads(done.stdout)["metrics"]["pehe"] == pytest.approx(float(np.sqrt(np.mean(error**2))))


def test_predict_and_effect_give_tables(wbm, model):
    fitted = wbm_ext.load(model)
    table = pandas.read_csv(io.StringIO(wbm("predict", "units.csv", "-m", model).stdout))
    np.testing.assert_allclose(table[["outcome0", "outcome1"]], fitted.predict_outcomes(covariates()), rtol=1e-6)
    done = wbm("effect", "units.csv", "-m", model, "--out", "effects.csv")
    assert done.exit_code == 0
    assert f"average effect (escfr): {fitted.ate(covariates())}" in done.stdout
    assert "average effect on the treated" in done.stdout
    np.testing.assert_allclose(pandas.read_csv("effects.csv")["effect"], fitted.effect(covariates()), rtol=1e-6)
    assert Path("effects.toml").is_file()


def test_a_system_without_a_file_estimates_in_one_go(wbm, units):
    assert "wbm effect" in wbm("fit", units, "-s", "ols", *ROLES).stderr
    done = wbm("effect", units, "-s", "ols", *ROLES, "-p", "n_bootstrap=20", "--level", 0.9, "--out", "e.parquet")
    assert done.exit_code == 0
    assert "(90%, bootstrap, standard error" in done.stdout
    table = pandas.read_parquet("e.parquet")
    assert (table["lower"] <= table["upper"]).all()
    frame = pandas.read_csv(units)
    expected = create("ols").fit(covariates(), frame["y"], treatment=frame["t"]).effect(covariates())
    np.testing.assert_allclose(table["effect"], expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "units.csv", "-s", "escfr", "--treatment", "tt", "--outcome", "y"), "column='tt' does not exist"),
        (("fit", "units.csv", "-s", "escfr", "--treatment", "x1", "--outcome", "y"), "treatment"),
        (("fit", "units.csv", "-s", "escfr", *ROLES[:4], "--covariates", "x1,y"), "--covariates must not hold 'y'"),
        (("fit", "units.csv", "-s", "escfr", *ROLES[:4], "--user", "u"), "--user does not go with system 'escfr'"),
        (("fit", "one.csv", "-s", "escfr", *ROLES[:4]), "must hold at least one covariate"),
        (("fit", "empty.csv", "-s", "escfr", *ROLES[:4]), "at least one row"),
        (
            ("fit", "wide.csv", "-s", "escfr", *ROLES[:4]),
            "wide.csv must have 3 cells a line, as its header has; got 4 in line 2",
        ),
        (("fit", "units.txt", "-s", "escfr", *ROLES[:4]), "there is no file units.txt"),
        (("predict", "one.csv", "-m", "m.pt"), "column='x1' does not exist"),
        (("effect", "units.csv", "-m", "m.pt", "--treatment", "q"), "column='q' does not exist"),
        (("recommend", "-m", "m.pt", "-u", "1"), "nothing to recommend"),
    ],
)
def test_errors_are_one_sentence_and_code_2(wbm, model, words, message):
    Path("one.csv").write_text("t,y\n0,1\n1,2\n")
    Path("empty.csv").write_text("x1,t,y\n")
    Path("wide.csv").write_text("x1,t,y\n0,1,1,1\n1,0,1,2\n")
    done = wbm(*words, *(["--no-progress"] if words[0] in ("fit", "effect") else []))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_effect_prints_what_a_reader_checks_and_a_page_with_plots(wbm, units):
    words = ("effect", units, "-s", "ols", *ROLES, "--no-progress")
    done = wbm(*words, "--refute", "--html", "e.html", "--out", "e.csv", "--id", "id")
    assert done.exit_code == 0, done.stderr
    for word in ("units: 240; treated", "mean outcome", "region (3)", "average effect (ols)", "standard error", "doubly robust",
                 "R²", "overlap", "effective sample size", "balance", "placebo treatment", "random common cause", "subset",
                 "unobserved confounder"):  # fmt: skip
        assert word in done.stdout, word
    page = Path("e.html").read_text()
    assert "data:image/png;base64," in page
    assert "placebo treatment" in page
    assert "http" not in page  # nothing is fetched to show it
    assert wbm(*words, "--html", "units.csv").exit_code == 2


def test_a_time_limit_ends_the_training_with_the_best_epoch(wbm, units):
    small = ("-p", "representation=[8]", "-p", "heads=[8]", "-p", "epochs=100000", "--no-progress")
    done = wbm("fit", units, "-s", "tarnet", *ROLES, *small, "--max-minutes", 1e-5, "--out", "m.pt")
    assert done.exit_code == 0, done.stderr
    assert "--max-minutes 1e-05: ended after epoch" in done.stderr
    history = wbm_ext.load("m.pt").history_
    assert history.stopped == "callback"
    assert history.seconds < 30
    assert "--max-minutes must be more than 0" in wbm("fit", units, "-s", "tarnet", *ROLES, "--max-minutes", 0).stderr
    assert "has no epochs" in wbm("effect", units, "-s", "ols", *ROLES, "--max-minutes", 1).stderr


def test_interrupting_says_what_was_kept_and_how_to_go_on(wbm, units, monkeypatch):
    from wbm_ext.cli.limits import TimeLimit

    def interrupt(self, epoch):
        if epoch == 3:
            raise KeyboardInterrupt

    words = ("fit", units, "-s", "tarnet", *ROLES, *SMALL[2:], "-p", "epochs=4")
    with monkeypatch.context() as patch:
        patch.setattr(TimeLimit, "on_epoch_start", interrupt)
        done = wbm(*words)
        assert done.exit_code == 130
        assert "interrupted: nothing was kept; --checkpoint FILE keeps a fit" in done.stderr
        done = wbm(*words, "--checkpoint", "c")
    assert "c holds the run after epoch 2: start it again with resume=True (--resume) to go on" in done.stderr
    assert wbm(*words, "--checkpoint", "c", "--resume").exit_code == 0
