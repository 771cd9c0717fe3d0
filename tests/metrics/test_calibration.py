"""Calibration of propensities: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve as sklearn_curve
from sklearn.metrics import brier_score_loss

from wbm_ext.datasets import make_ratings
from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import brier_score, calibration_curve, propensity_calibration


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """True propensities of generated ratings and one draw of what is observed."""
    data = make_ratings(100, 120, density=0.2)
    observed = np.random.default_rng(0).random(data.propensities.shape) < data.propensities
    return data.propensities, observed


def test_curve_by_hand() -> None:
    curve = calibration_curve([0.2, 0.4, 0.9, 0.6], [0, 1, 1, 1], bins=4)
    assert curve.predicted.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.9])
    assert curve.observed.tolist() == [0, 1, 1, 1]
    two = calibration_curve([0.2, 0.4, 0.9, 0.6], [0, 1, 1, 1], bins=2)
    assert (two.predicted.tolist(), two.counts.tolist()) == (pytest.approx([0.3, 0.75]), [2, 2])
    assert two.observed.tolist() == [0.5, 1]
    assert two.error == pytest.approx(0.5 * 0.2 + 0.5 * 0.25)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("bins", [1, 7, 20])
def test_curve_agrees_with_scikit_learn(pairs, strategy: str, bins: int) -> None:
    q, observed = (part.ravel() for part in pairs)
    q = q * (1 - 1e-9 * np.random.default_rng(1).random(len(q)))  # no value on an edge, where conventions differ
    curve = calibration_curve(q, observed, bins, strategy=strategy)
    share, predicted = sklearn_curve(observed, q, n_bins=bins, strategy=strategy)
    assert curve.observed == pytest.approx(share, abs=1e-12)
    assert curve.predicted == pytest.approx(predicted, abs=1e-12)
    assert curve.counts.sum() == len(q)
    assert propensity_calibration(q, observed, bins, strategy=strategy) == curve.error


def test_brier_score_by_hand_and_against_scikit_learn(pairs) -> None:
    assert brier_score([0.2, 1.0, 0.5], [0, 1, 1]) == pytest.approx((0.04 + 0 + 0.25) / 3)
    q, observed = pairs
    assert brier_score(q, observed) == pytest.approx(brier_score_loss(observed.ravel(), q.ravel()))


def test_the_true_propensities_have_the_lowest_brier_score(pairs) -> None:
    q, observed = pairs
    right = brier_score(q, observed)
    for wrong in (np.full_like(q, q.mean()), np.minimum(1, 1.5 * q), np.sqrt(q)):
        assert brier_score(wrong, observed) > right + 0.001


def test_a_stretched_propensity_bends_the_curve(pairs) -> None:
    q, observed = pairs
    good = calibration_curve(q, observed, 5, strategy="quantile")
    assert abs(good.observed - good.predicted).max() < 0.03
    bad = calibration_curve(q**2, observed, 5, strategy="quantile")
    assert (bad.observed > bad.predicted + 0.02).sum() >= 3


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: brier_score([0.1, 0.2], [1]), ValueError, r"shape of propensity, \(2,\); got \(1,\)"),
        (lambda: brier_score([1.1], [1]), ValueError, r"propensities must be in \[0, 1\]; got 1\.1"),
        (lambda: brier_score([], []), ValueError, "propensity must hold at least one value"),
        (lambda: brier_score([0.5], [2]), ValueError, "observed: values must be 0 or 1; got 2"),
        (lambda: calibration_curve([0.5], [1], 0), ValueError, "bins must be an integer of at least 1; got 0"),
        (lambda: calibration_curve([0.5], [1], strategy="width"), UnknownNameError, "strategy='width' does not exist"),
    ],
)
def test_bad_input_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
