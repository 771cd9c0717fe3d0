"""Side-by-side runs: figures per seed, their summaries, paired differences, and an honest sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from wbm_ext.datasets import RatingsDataset, make_ratings, overlap
from wbm_ext.errors import UnknownNameError
from wbm_ext.recommender import compare, create
from wbm_ext.recommender.comparison import _verdict
from wbm_ext.recommender.systems.given import GivenIPS


@pytest.fixture(scope="module")
def result(tiny: RatingsDataset) -> dict:
    return compare(tiny, seeds=2, params={"epochs": 2})


def test_runs_are_those_of_the_estimators(result: dict, tiny: RatingsDataset) -> None:
    model = create("ips", epochs=2, random_state=1).fit(tiny.train)
    run = result["systems"]["ips"]["runs"][1]
    assert run["seed"] == 1
    assert run["metrics"]["auc"] == model.score(tiny.test)
    seen = overlap(tiny.train, tiny.test)
    assert seen.any()
    assert run["metrics"]["auc_unseen"] == model.score(tiny.test.subset(~seen))
    assert len(run["history"]) == 2


def test_summaries_and_pairs(result: dict) -> None:
    naive, wbm = ([run["metrics"]["auc"] for run in result["systems"][n]["runs"]] for n in ("naive", "ips-wbm"))
    summary = result["systems"]["naive"]["summary"]["metrics"]["auc"]
    assert summary["mean"] == pytest.approx(np.mean(naive))
    assert summary["sd"] == pytest.approx(np.std(naive, ddof=1))
    pair = result["paired"]["ips-wbm - naive"]["auc"]
    assert pair["mean"] == pytest.approx(np.mean(wbm) - np.mean(naive))
    assert pair["higher"] == sum(b > a for a, b in zip(naive, wbm, strict=True))


def test_result_is_json_and_says_what_was_done(result: dict) -> None:
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text)["data"]["name"] == "synthetic"
    assert result["setting"]["validation"] == "biased"
    assert result["systems"]["ips"]["parameters"]["epochs"] == 2
    assert {"wbm_ext", "torch", "python"} <= set(result["versions"])


@pytest.mark.parametrize(
    ("naive", "wbm", "words"),
    [
        ([0.7, 0.7], [0.8, 0.9], "beats naive in AUC in every seed"),
        ([0.7, 0.7], [0.6, 0.7], "does not beat naive in AUC in any seed"),
        ([0.7, 0.7], [0.8, 0.6], r"AUC higher in 1 of 2 seeds"),
    ],
)
def test_verdict(naive: list[float], wbm: list[float], words: str) -> None:
    runs = {
        name: [{"metrics": {"auc": value}} for value in values] for name, values in (("naive", naive), ("ips-wbm", wbm))
    }
    sentence = _verdict(runs)
    assert sentence is not None
    assert words in sentence
    assert len(sentence.splitlines()) == 1  # no control, no sentence of it
    assert _verdict({"naive": runs["naive"]}) is None


def test_unknown_names_are_refused_before_training(tiny: RatingsDataset) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'naive'"):
        compare(tiny, names=["naiv"])
    with pytest.raises(UnknownNameError, match="did you mean 'epochs'"):
        compare(tiny, params={"epoch": 1})
    with pytest.raises(ValueError, match="seeds"):
        compare(tiny, seeds=0)


@pytest.fixture(scope="module")
def drawn() -> dict:
    """Two draws of generated ratings whose selection hurts a model of the ratings as they are."""
    return compare(lambda seed: make_ratings(60, 50, density=0.3, niche=2.0, random_state=seed), seeds=2, params=SHORT)


SHORT = {"epochs": 3}


def test_a_function_of_the_seed_draws_the_data_of_each_seed_anew(drawn: dict) -> None:
    assert list(drawn["systems"]) == ["naive", "constant", "multi-ips", "ips-v2", "ips-wbm", "oracle"]
    for seed in range(2):
        data = make_ratings(60, 50, density=0.3, niche=2.0, random_state=seed)
        model = create("naive", random_state=seed, **SHORT).fit(data.train)
        assert drawn["systems"]["naive"]["runs"][seed]["metrics"]["auc"] == model.score(data.test)
    assert drawn["data"]["drawn_anew"]
    json.dumps(drawn, allow_nan=False)


def test_a_constant_propensity_is_the_naive_system(drawn: dict) -> None:
    """L = kappa mean e / kappa: flattened to the end, inverse propensities leave the naive loss."""
    for constant, naive in zip(*(drawn["systems"][name]["runs"] for name in ("constant", "naive")), strict=True):
        assert constant["metrics"]["auc"] == pytest.approx(naive["metrics"]["auc"], abs=1e-3)


def test_the_oracle_is_weighted_by_the_true_propensities(drawn: dict) -> None:
    data = make_ratings(60, 50, density=0.3, niche=2.0, random_state=1)
    model = GivenIPS(propensities=data.propensities, random_state=1, **SHORT).fit(data.train)
    assert drawn["systems"]["oracle"]["runs"][1]["metrics"]["auc"] == model.score(data.test)
    np.testing.assert_allclose(model.propensity([0, 3], [1, 2]), data.propensities[[0, 3], [1, 2]], rtol=1e-6)
    assert model.floor_ == pytest.approx(data.propensities.min())
    assert "propensities" not in drawn["systems"]["oracle"]["parameters"]


def test_controls_get_a_sentence_with_an_interval(drawn: dict) -> None:
    lines = drawn["verdict"].splitlines()
    assert len(lines) == 5
    differences = [
        run["metrics"]["auc"] - other["metrics"]["auc"]
        for run, other in zip(*(drawn["systems"][name]["runs"] for name in ("ips-wbm", "oracle")), strict=True)
    ]
    low, high = stats.t.interval(0.95, 1, np.mean(differences), stats.sem(differences))
    assert f"{np.mean(differences):+.4f} [{low:+.4f}, {high:+.4f}]" in lines[-1]


def test_bad_propensities_are_refused(tiny: RatingsDataset) -> None:
    with pytest.raises(ValueError, match="shape"):
        GivenIPS(propensities=np.full((2, 2), 0.5)).fit(tiny.train)
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        GivenIPS(propensities=np.zeros((tiny.n_users, tiny.n_items))).fit(tiny.train)
    with pytest.raises(ValueError, match="oracle needs"):
        compare(replace(tiny, propensities=None), names=["oracle"], params=SHORT)
