"""The generator: known propensities, marginal, selection, independence of the parts, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from wbm_ext.datasets import RatingsDataset, make_niche_ratings, make_ratings


def positive_share(data: RatingsDataset) -> float:
    """P(r >= 3) in expectation over the draw of the observed pairs."""
    return float(np.average(data.truth >= 3, weights=data.propensities))


@pytest.mark.parametrize("density", [0.02, 0.08, 0.5, 0.95])
@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_propensities_have_the_wanted_mean(density: float, strength: float) -> None:
    data = make_ratings(60, 70, density=density, selection=strength, popularity=strength, hidden=strength)
    q = data.propensities
    assert abs(q.mean() - density) < 1e-6
    assert q.min() >= 0.0025
    assert q.max() <= 1


def test_train_is_a_bernoulli_draw_of_the_propensities() -> None:
    data = make_ratings(300, 300)
    q = data.propensities
    spread = np.sqrt((q * (1 - q)).sum())
    assert abs(len(data.train) - q.sum()) < 4 * spread
    observed = np.zeros(q.shape)
    observed[data.train.users, data.train.items] = 1
    for low, high in ((0, 0.5), (0.5, 0.9), (0.9, 1)):
        part = (q >= np.quantile(q, low)) & (q <= np.quantile(q, high))
        deviation = (observed - q)[part].sum() / np.sqrt((q * (1 - q))[part].sum())
        assert abs(deviation) < 4


def test_ratings_are_those_of_the_truth_with_the_marginal_of_a_random_part() -> None:
    data = make_ratings()
    for part in (data.train, data.test):
        assert np.array_equal(part.ratings, data.truth[part.users, part.items])
    shares = np.bincount(data.truth.astype(int).ravel(), minlength=6)[1:] / data.truth.size
    assert np.allclose(shares, [0.405, 0.194, 0.216, 0.138, 0.047], atol=1e-4)


def test_every_user_has_the_test_pairs_asked_for_and_they_are_uniform() -> None:
    data = make_ratings(400, 50, test_per_user=10)
    assert (np.bincount(data.test.users, minlength=400) == 10).all()
    items = np.bincount(data.test.items, minlength=50)  # each Binomial(400, 1/5), sd 8
    assert abs(items - 80).max() < 4 * 8
    assert abs(data.test.ratings.mean() - data.truth.mean()) < 4 * data.truth.std() / np.sqrt(4000)


def test_without_selection_the_propensity_ignores_the_rating() -> None:
    data = make_ratings(selection=0.0, popularity=0.0, density=0.1)
    assert np.allclose(data.propensities, 0.1, atol=1e-9)
    log_q = np.log(make_ratings(selection=0.0, density=0.05, q_min=1e-6).propensities)
    unclipped = (log_q < 0).all(axis=1)
    interaction = log_q - log_q.mean(axis=1, keepdims=True)
    interaction -= interaction[unclipped].mean(axis=0)
    assert unclipped.sum() > 150
    assert abs(interaction[unclipped]).max() < 1e-9  # a user term plus an item term, nothing a pair


def test_with_selection_the_propensity_falls_geometrically_with_the_rating() -> None:
    data = make_ratings(selection=2.0, popularity=0.0, density=0.1)
    levels = [np.unique(data.propensities[data.truth == stars].round(12)) for stars in range(1, 6)]
    assert [len(level) for level in levels] == [1] * 5
    assert np.allclose(np.divide(levels[:-1], levels[1:]), 0.8**2)


def test_stronger_selection_and_confounding_bias_the_observed_ratings_more() -> None:
    by_selection = [positive_share(make_ratings(selection=strength)) for strength in (0, 1, 2, 3)]
    assert (np.diff(by_selection) > 0.03).all()
    assert abs(by_selection[1] - 0.53) < 0.04
    by_confounder = [positive_share(make_ratings(selection=0, hidden=strength)) for strength in (0, 0.5, 1)]
    assert (np.diff(by_confounder) > 0.03).all()


def test_affinity_selects_by_what_features_show_and_not_by_the_rating_itself() -> None:
    options = {"selection": 0.0, "popularity": 0.0, "affinity": 1.0, "density": 0.05, "q_min": 1e-6}
    data, noisy = make_ratings(**options), make_ratings(**options, noise=3.0)
    assert not np.array_equal(data.truth, noisy.truth)
    assert np.array_equal(data.propensities, noisy.propensities)
    u, v = data.user_features.astype(float), data.item_features.astype(float)
    known = u[:, :8] @ v[:, :8].T / np.sqrt(8) + 0.5 * (u[:, 8:9] + v[:, 8:9].T)
    assert np.corrcoef(known.ravel(), np.log(data.propensities).ravel())[0, 1] > 0.97
    shares = [positive_share(make_ratings(selection=0.0, affinity=strength)) for strength in (0, 0.5, 1)]
    assert (np.diff(shares) > 0.03).all()


def test_overlap_mixes_the_propensities_with_random_observation() -> None:
    none, half, full = (make_ratings(50, 60, selection=3.0, overlap=overlap) for overlap in (0.0, 0.5, 1.0))
    assert np.allclose(half.propensities, 0.5 * 0.08 + 0.5 * none.propensities)
    assert np.allclose(full.propensities, 0.08)
    assert abs(half.propensities.mean() - 0.08) < 1e-6
    assert half.propensities.min() > 0.04
    assert np.array_equal(none.truth, full.truth)


def test_popularity_spreads_items() -> None:
    spread = [np.log(make_ratings(popularity=strength).propensities.mean(axis=0)).std() for strength in (0, 0.5, 1)]
    assert spread[0] < 0.2 < spread[1] < spread[2]


def test_features_show_the_latent_factors() -> None:
    data = make_ratings(rank=4, noise=0.1)
    assert data.user_features.shape == (200, 6)
    assert data.item_features.shape == (300, 6)
    u, v = data.user_features, data.item_features
    guess = u[:, :4] @ v[:, :4].T / 2 + 0.5 * (u[:, 4:5] + v[:, 4:5].T)
    assert np.corrcoef(guess.ravel(), data.truth.ravel())[0, 1] > 0.85
    assert np.corrcoef(u[:, 5], np.log(data.propensities.mean(axis=1)))[0, 1] > 0.9


def test_the_seed_decides_and_the_strengths_leave_the_ratings_alone() -> None:
    one, again, other = make_ratings(50, 60), make_ratings(50, 60), make_ratings(50, 60, random_state=1)
    assert np.array_equal(one.propensities, again.propensities)
    assert np.array_equal(one.train.observed_keys(), again.train.observed_keys())
    assert np.array_equal(one.user_features, again.user_features)
    assert not np.array_equal(one.truth, other.truth)
    stronger = make_ratings(50, 60, selection=3.0, popularity=1.0, density=0.2)
    assert np.array_equal(one.truth, stronger.truth)
    assert np.array_equal(one.test.items, stronger.test.items)
    assert not np.array_equal(one.propensities, stronger.propensities)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_users": 0}, ValueError, "n_users must be an integer of at least 1; got 0"),
        ({"n_items": 2.5}, TypeError, r"n_items must be an integer of at least 1; got 2\.5"),
        ({"rank": True}, TypeError, "rank must be an integer of at least 1; got True"),
        ({"density": 1.5}, ValueError, r"density must be a finite number in \[0, 1\]; got 1\.5"),
        ({"density": 0.001}, ValueError, r"0 < q_min < density < 1; got 0\.0025, 0\.001"),
        ({"density": 1}, ValueError, r"0 < q_min < density < 1; got 0\.0025, 1"),
        ({"selection": -1}, ValueError, r"selection must be a finite number in \[0, inf\]; got -1\.0"),
        ({"popularity": "high"}, TypeError, "popularity must be a finite number .*got 'high'"),
        ({"hidden": float("nan")}, ValueError, "hidden must be a finite number"),
        ({"affinity": -1}, ValueError, "affinity must be a finite number"),
        ({"overlap": 1.5}, ValueError, r"overlap must be a finite number in \[0, 1\]; got 1\.5"),
        ({"noise": -0.1}, ValueError, "noise must be a finite number"),
        ({"n_items": 10}, ValueError, "test_per_user must be at most n_items, 10; got 16"),
    ],
)
def test_bad_arguments_are_refused(options, error, text) -> None:
    with pytest.raises(error, match=text):
        make_ratings(**options)


def test_niche_items_are_seen_by_those_who_like_them() -> None:
    """Observed ratings of the less popular half lie above all their ratings, those of the others do not."""
    data = make_ratings(300, 200, rank=4, density=0.2, selection=0.0, popularity=0.0, niche=2.0, noise=0.0, q_min=0.02)
    flat = make_ratings(300, 200, rank=4, density=0.2, selection=0.0, popularity=0.0, noise=0.0, q_min=0.02)
    np.testing.assert_array_equal(data.truth, flat.truth)
    seen = np.zeros(data.truth.shape, dtype=bool)
    seen[data.train.users, data.train.items] = True
    gap = np.array([data.truth[seen[:, i], i].mean() - data.truth[:, i].mean() for i in range(data.n_items)])
    fans = np.array([np.ptp(data.propensities[:, i]) > 0 for i in range(data.n_items)])
    assert 0.3 < fans.mean() < 0.7
    assert gap[fans].mean() > 0.5
    assert abs(gap[~fans].mean()) < 0.05


def test_niche_ratings_are_make_ratings_with_their_settings() -> None:
    data = make_niche_ratings(3)
    same = make_ratings(
        300, 200, rank=4, density=0.2, selection=0.0, popularity=0.3, niche=2.0, q_min=0.02, test_per_user=40,
        random_state=3,
    )  # fmt: skip
    assert data.name == "niche-items"
    np.testing.assert_array_equal(data.propensities, same.propensities)
    np.testing.assert_array_equal(data.train.ratings, same.train.ratings)
