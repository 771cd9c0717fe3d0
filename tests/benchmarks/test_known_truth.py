"""The known-truth study: its protocol, its controls against what they promise, its estimators, its command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from python_benchmarks.known_truth import __main__, comparisons, controls, methods, study, world
from python_benchmarks.known_truth.draw import LOSSES, Draw
from python_benchmarks.known_truth.factors import factorise
from python_benchmarks.known_truth.transport import OBJECTIVES, batch_weights, relaxed_weights
from wbm_ext import metrics
from wbm_ext.datasets import Ratings


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """Low-rank ratings of 80 users and 90 items, two thirds of them seen."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 90)) + rng.standard_normal(90)
    stars = 1 + np.searchsorted(np.quantile(scores, [0.2, 0.4, 0.6, 0.8]), scores)
    return Ratings.from_matrix(np.where(rng.random(stars.shape) < 0.66, stars, 0), scale=(1, 5))


@pytest.fixture(scope="module")
def truth(ratings: Ratings) -> np.ndarray:
    return world.complete(ratings, (70, 80), seed=1)


@pytest.fixture(scope="module")
def draw(truth: np.ndarray) -> Draw:
    return Draw(truth, "falling", seed=0)


def test_the_completed_matrix_has_the_shares_of_the_protocol(truth):
    shares = np.array([(truth == star).mean() for star in range(1, 6)])
    np.testing.assert_allclose(shares, world.MARGINAL, atol=1e-3)


@pytest.mark.parametrize(("selection", "ratios"), [("falling", [4, 4, 4, 1]), ("mirrored", [1, 1 / 4, 1 / 4, 1 / 4])])
def test_propensities_have_their_mean_and_fall_by_a_quarter_a_star(truth, selection, ratios):
    p = world.true_propensity(truth, selection)
    assert p.mean() == pytest.approx(world.DENSITY)
    by_star = [p[truth == star][0] for star in range(1, 6)]
    np.testing.assert_allclose(np.divide(by_star[1:], by_star[:-1]), ratios)


def test_the_six_matrices_are_wrong_as_the_protocol_says(truth):
    made = world.predictions(truth, np.random.default_rng(0))
    fives = int((truth == 5).sum())
    for name, star in (("ONE", 1), ("THREE", 3), ("FOUR", 4)):
        wrong = made[name] != truth
        assert wrong.sum() == fives
        assert set(truth[wrong]) == {star}
        assert set(made[name][wrong]) == {5}
    assert set(made["ROTATE"][truth == 1]) == {5}
    assert np.array_equal(made["ROTATE"][truth > 1], truth[truth > 1] - 1)
    assert set(made["CRS"].ravel()) == {3.0, 4.0}
    assert made["SKEW"].min() >= 0
    assert made["SKEW"].max() <= 6


def test_factorisation_finds_a_low_rank_matrix_and_follows_weights():
    rng = np.random.default_rng(0)
    full = 3 + rng.standard_normal((40, 2)) @ rng.standard_normal((2, 50))
    users, items = np.nonzero(rng.random(full.shape) < 0.8)
    options = {"rank": 4, "ridge": 1e-4, "bias_ridge": 1e-3, "sweeps": 60}  # 2, and what the biases leave
    model = factorise(users, items, full[users, items], full.shape, **options)
    assert np.sqrt(np.square(model.matrix() - full).mean()) < 0.05
    spoilt = np.where(np.arange(len(users)) % 5 == 0, 100.0, full[users, items])
    weights = np.where(np.arange(len(users)) % 5 == 0, 0.0, 1.0)
    model = factorise(users, items, spoilt, full.shape, weights=weights, **options)
    assert np.sqrt(np.square(model.matrix() - full).mean()) < 0.1


def test_estimators_are_those_of_the_package(draw):
    w = draw.given["25 %"]
    q = np.full(draw.truth.shape, 0.5)
    q.ravel()[draw.keys] = 1 / w
    observed = np.zeros(draw.truth.shape, dtype=bool)
    observed.ravel()[draw.keys] = True
    for name, y in draw.predicted.items():
        errors = np.abs(draw.truth - y)
        ideal = metrics.ideal_loss(errors)
        got, plain = draw.errors(w, name, "absolute"), draw.unweighted_errors(name, "absolute")
        assert got["IPS"] == pytest.approx(abs(metrics.ips_estimate(errors, observed, q) / ideal - 1))
        assert got["SNIPS"] == pytest.approx(abs(metrics.snips_estimate(errors, observed, q) / ideal - 1))
        assert plain["naive"] == pytest.approx(abs(metrics.naive_estimate(errors, observed) / ideal - 1))


def test_true_weights_leave_no_bias_and_constant_ones_that_of_naive(truth):
    """Over draws of one matrix: the mean SNIPS estimate with 1/p is the truth, with a constant the naive mean."""
    p = world.true_propensity(truth, "falling")
    rng, e = np.random.default_rng(0), np.abs(truth - 3.0)
    true, flat = [], []
    for _ in range(300):
        o = rng.random(truth.shape) < p
        true.append((e[o] / p[o]).sum() / (1 / p[o]).sum())
        flat.append(e[o].mean())
    assert np.mean(true) == pytest.approx(e.mean(), abs=0.03)
    assert np.mean(flat) == pytest.approx((p * e).sum() / p.sum(), abs=0.01)
    assert abs(np.mean(flat) - e.mean()) > 0.2


def test_entropy_balancing_meets_the_means_in_the_form_of_the_nearest_weights(draw):
    x, mean, base = draw.features("embeddings")[:, :6], draw.mean("embeddings")[:6], draw.given["50 %"]
    w = controls.entropy_balance(base, x, mean)
    np.testing.assert_allclose(w @ x / w.sum(), mean, atol=1e-6)
    # log(w / base) is linear in x: the form of the minimiser of the relative entropy
    A = np.c_[np.ones(len(x)), x]
    left = np.log(w / base) - A @ np.linalg.lstsq(A, np.log(w / base), rcond=None)[0]
    assert np.abs(left).max() < 1e-8


def test_strata_get_the_shares_of_the_whole_space(draw):
    whole = draw.imputed.ravel()
    w = controls.strata(draw.given["50 %"], whole[draw.keys], whole, bins=4)
    cuts = np.quantile(whole, [0.25, 0.5, 0.75])
    shares = np.bincount(np.searchsorted(cuts, whole[draw.keys], side="right"), w / w.sum(), 4)
    np.testing.assert_allclose(shares, 0.25, atol=0.01)


@pytest.mark.parametrize("flatten", [controls.tempered, controls.floored, controls.mixed])
def test_flattened_weights_reach_the_effective_size_and_keep_the_order(draw, flatten):
    base = draw.given["0 %"]
    size = (controls.effective_size(base) + len(base)) / 2
    w = flatten(base, size)
    assert controls.effective_size(w) == pytest.approx(size, rel=1e-3)
    assert (np.diff(w[np.argsort(base)]) >= -1e-12).all()


def cloud(size: int, rng: np.random.Generator) -> np.ndarray:
    """Normal points around (.7, -.7), the whole space for observed points around 0."""
    return rng.normal([0.7, -0.7], 1, (size, 2))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_transport_moves_the_weighted_features_to_the_whole_space(objective):
    x = np.random.default_rng(1).standard_normal((1500, 2))
    w = batch_weights(np.ones(len(x)), x, cloud, objective=objective, batch=96, steps=80)
    np.testing.assert_allclose(w @ x / w.sum(), [0.7, -0.7], atol=0.15)


def test_the_split_batch_keeps_the_spread_that_plain_transport_loses():
    """The cost between finite batches is lower for weights in the dense middle; with disjoint batches it is not."""
    x = np.random.default_rng(1).standard_normal((4000, 8))
    whole = lambda n, rng: rng.standard_normal((n, 8))  # noqa: E731
    spread = {}
    for objective in ("plain", "split"):
        w = batch_weights(np.ones(len(x)), x, whole, objective=objective, batch=96, steps=150)
        spread[objective] = (w @ np.square(x)).sum() / w.sum() / 8
    assert spread["plain"] < 0.9 < spread["split"] < 1.1


def test_a_relaxed_plan_goes_from_the_base_weights_to_matching():
    rng = np.random.default_rng(1)
    x, base = rng.standard_normal((1500, 2)), rng.uniform(0.5, 2, 1500)
    stiff = relaxed_weights(base, x, cloud, kappa=1e4, epsilon=0.05, size=200)
    np.testing.assert_allclose(stiff / stiff.sum(), base / base.sum(), rtol=1e-2)
    free = relaxed_weights(base, x, cloud, kappa=1e-3, epsilon=0.01, size=1000)
    np.testing.assert_allclose(free @ x / free.sum(), [0.7, -0.7], atol=0.15)


def test_every_method_gives_weights_of_its_scale(draw):
    for tries in (False, True):
        found = methods.all_weights(draw, "50 %", tries=tries)
        assert all(w.shape == draw.keys.shape and np.isfinite(w).all() and (w >= 0).all() for w in found.values())
        for name, w in found.items():
            if name not in methods.FLAT:
                assert w.sum() == pytest.approx(draw.truth.size, rel=1e-6)
        assert set(found) >= set(methods.FLAT)
    assert sum(name.split(", on ")[0] in methods.TRIES for name in found) == 2 * len(methods.TRIES)


def test_the_unit_of_errors_is_the_bias_of_the_naive_mean(truth):
    """The mean over draws of the naive estimate has error near 1 in this unit."""
    record = [study.run_draw(truth, "falling", seed, ())["rows"][0]["naive, all"] for seed in range(3)]
    assert np.mean(record) == pytest.approx(1, abs=0.1)


def test_paired_tests_tell_a_difference_from_noise_and_adjust_together():
    rng = np.random.default_rng(0)
    entropy, kernel = methods.controls_of("embeddings")
    rows = []
    for draw_ in range(20):
        noise = rng.normal()
        values = {"given": 3, "constant": 4, entropy: 2, kernel: 2, methods.STRATA: 2, "WBM, on embeddings": 1}
        for method, value in values.items():
            outcomes = {name: value + noise + 0.01 * rng.normal() for name in comparisons.OUTCOMES}
            rows.append(
                {"selection": "falling", "propensity": "50 %", "draw": draw_, "method": method, "ess": 1.0} | outcomes
            )
    tests = comparisons.paired_tests(pd.DataFrame(rows))
    assert set(tests.role) == {"best flat", "strata", "entropy balancing", "kernel balancing"}
    assert (tests.p_holm <= 0.05).all()
    assert (tests.p_holm >= tests.p).all()
    won = comparisons.wins(tests, "SNIPS, all").loc["WBM, on embeddings"]
    assert (won.places, won.beats_all, won.loses_to_one) == (1, 1, 0)


def test_the_command_writes_its_page_and_goes_on_after_an_interrupt(ratings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "load_movielens_100k", lambda path: ratings)
    monkeypatch.setattr(methods, "TRIES", dict(list(methods.TRIES.items())[3:]))
    words = ["--draws", "2", "--shape", "60", "70", "--propensities", "50 %", "--out", str(tmp_path)]
    assert __main__.main([*words[:1], "1", *words[2:]]) == 0
    first = (tmp_path / "runs.jsonl").read_text().splitlines()
    (tmp_path / "runs.jsonl").write_text("\n".join(first[:-1]) + "\n" + first[-1][:50])
    assert __main__.main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert {(line["selection"], line["draw"]) for line in lines[1:]} == {
        (s, d) for s in world.SELECTIONS for d in (0, 1)
    }
    assert json.loads(first[1]) in lines
    page = (tmp_path / "report.md").read_text()
    for part in ("low ratings seen", "Effective sample size", "entropy balancing, on embeddings", "Paired tests"):
        assert part in page
    assert "nan" not in page
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert (summary.draws == 2).all()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.md", "summary.csv", "tests.csv", "results.json", "errors.png", "runs.jsonl")
    }


def test_bad_arguments_and_a_missing_package_are_one_sentence(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        __main__.main(["--draws", "0", "--out", str(out)])
    assert "--draws must be at least 1; got 0" in capsys.readouterr().err
    assert __main__.main(["--ratings", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not out.exists()


def test_losses_and_groups_cover_every_prediction(draw):
    assert set(study.GROUPS["all"]) == set(draw.predicted)
    assert len(study.naive_bias(draw, world.true_propensity(draw.truth, "falling"))) == 7 * len(LOSSES)
