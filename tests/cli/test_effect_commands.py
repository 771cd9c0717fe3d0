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
    assert f"average effect: {fitted.ate(covariates())}" in done.stdout
    assert "average effect on the treated" in done.stdout
    np.testing.assert_allclose(pandas.read_csv("effects.csv")["effect"], fitted.effect(covariates()), rtol=1e-6)
    assert Path("effects.toml").is_file()


def test_a_system_without_a_file_estimates_in_one_go(wbm, units):
    assert "wbm effect" in wbm("fit", units, "-s", "ols", *ROLES).stderr
    done = wbm("effect", units, "-s", "ols", *ROLES, "-p", "n_bootstrap=20", "--level", 0.9, "--out", "e.parquet")
    assert done.exit_code == 0
    assert "(90%, bootstrap)" in done.stdout
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
