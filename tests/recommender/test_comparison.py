"""Side-by-side runs: figures per seed, their summaries, paired differences, and an honest sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wbm_ext.datasets import RatingsDataset, overlap
from wbm_ext.errors import UnknownNameError
from wbm_ext.recommender import compare, create
from wbm_ext.recommender.comparison import _verdict


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
    assert _verdict({"naive": runs["naive"]}) is None


def test_unknown_names_are_refused_before_training(tiny: RatingsDataset) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'naive'"):
        compare(tiny, names=["naiv"])
    with pytest.raises(UnknownNameError, match="did you mean 'epochs'"):
        compare(tiny, params={"epoch": 1})
    with pytest.raises(ValueError, match="seeds"):
        compare(tiny, seeds=0)
