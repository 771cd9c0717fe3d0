"""The balance report: weights that undo a known selection bring the groups together; others do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wbm_ext.datasets import Ratings, RatingsDataset
from wbm_ext.metrics import effective_sample_size
from wbm_ext.recommender import balance_report, create


@pytest.fixture(scope="module")
def selected() -> tuple[Ratings, np.ndarray]:
    """Return ratings observed with probabilities that depend on the item's place on a line alone, and those."""
    rng = np.random.default_rng(0)
    place = np.linspace(-1, 1, 80)
    q = np.broadcast_to(1 / (1 + np.exp(1.5 - 2.0 * place)), (60, 80))
    users, items = np.nonzero(rng.random(q.shape) < q)
    return Ratings(users, items, np.ones(len(users)), 60, 80), q


def on_the_line(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    return np.linspace(-1, 1, 80)[items][:, None]


def test_true_propensities_balance_and_constant_ones_change_nothing(selected: tuple[Ratings, np.ndarray]) -> None:
    ratings, q = selected
    true = balance_report(ratings, q, representation=on_the_line, floor=1e-3)
    constant = balance_report(ratings, np.full(q.shape, ratings.density), representation=on_the_line)
    assert true["smd_before"] > 0.5
    assert true["smd_after"] < 0.2 * true["smd_before"]
    assert true["wbm_after"] < 0.5 * true["wbm_before"]
    assert true["wbm_before"] == pytest.approx(constant["wbm_before"], rel=1e-3)
    assert constant["wbm_after"] == pytest.approx(constant["wbm_before"], rel=1e-3)
    assert constant["ess_treated"] == pytest.approx(constant["n_treated"]) == 400
    assert constant["largest_share_untreated"] == pytest.approx(1 / 400)


def test_random_baseline_is_what_balanced_samples_have(selected: tuple[Ratings, np.ndarray]) -> None:
    ratings, q = selected
    report = balance_report(ratings, q, representation=on_the_line, floor=1e-3)
    assert report["wbm_random"] < 0.5 * report["wbm_before"]
    assert report["smd_random"] < 0.2


def test_figures_of_the_weights_are_those_of_the_clipped_inverses(selected: tuple[Ratings, np.ndarray]) -> None:
    ratings, q = selected
    sample: dict[str, np.ndarray] = {}

    def spy(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        sample["q"] = q[users, items]
        return sample["q"]

    report = balance_report(ratings, spy, representation=on_the_line, n_treated=100, n_untreated=60, floor=0.2)
    treated = sample["q"][:100]
    assert report["ess_treated"] == pytest.approx(effective_sample_size(1 / np.maximum(treated, 0.2)))
    assert report["clipped_share"] == pytest.approx((treated < 0.2).mean())
    assert report["clipped_share"] > 0
    assert (report["n_treated"], report["n_untreated"]) == (100, 60)


def test_same_state_same_report(tiny: RatingsDataset) -> None:
    model = create("naive", epochs=1, random_state=0).fit(tiny.train)
    first = balance_report(tiny, model.propensity, random_state=3)
    assert first == balance_report(tiny, model.propensity, random_state=3)
    assert first["wbm_before"] != balance_report(tiny, model.propensity, random_state=4)["wbm_before"]
    assert first["representation"] == "covariates"


def test_without_covariates_a_representation_must_be_given(tiny: RatingsDataset) -> None:
    bare = replace(tiny, user_features=None)
    model = create("naive", epochs=1, random_state=0).fit(tiny.train)
    with pytest.raises(ValueError, match="representation must be given"):
        balance_report(bare, model.propensity)
    assert balance_report(bare, model.propensity, representation=model.embed)["representation"] == "given"


def test_unusable_input_is_refused(tiny: RatingsDataset) -> None:
    with pytest.raises(ValueError, match=r"propensity must lie in \[0, 1\]; got 1.5"):
        balance_report(tiny, np.full((40, 50), 1.5))
    with pytest.raises(ValueError, match="n_treated"):
        balance_report(tiny, tiny.propensities, n_treated=1)
    with pytest.raises(TypeError, match="data must be Ratings"):
        balance_report([1, 2], tiny.propensities)  # type: ignore[arg-type]
    full = Ratings.from_matrix(np.ones((3, 3)))
    with pytest.raises(ValueError, match="nothing to balance"):
        balance_report(full, np.full((3, 3), 0.5), representation=lambda u, i: np.ones((len(u), 1)))
