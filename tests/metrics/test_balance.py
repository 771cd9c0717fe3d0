"""Diagnostics of weights and propensities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import clipped_share, effective_sample_size, largest_share, propensity_calibration


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size([1, 2, 3]) == pytest.approx(36 / 14)
    assert effective_sample_size(np.full(7, 0.2)) == pytest.approx(7)
    assert effective_sample_size([0, 0, 5]) == pytest.approx(1)
    assert effective_sample_size([0.0, 0.0]) == 0.0


def test_effective_sample_size_ignores_the_scale() -> None:
    weights = np.random.default_rng(0).exponential(size=50)
    expected = effective_sample_size(weights)
    for scale in (1e-300, 1e-3, 1e300):
        assert effective_sample_size(weights * scale) == pytest.approx(expected)


def test_largest_share_by_hand() -> None:
    assert largest_share([1, 2, 5]) == pytest.approx(5 / 8)
    assert largest_share(torch.ones(4)) == pytest.approx(1 / 4)
    assert largest_share([0.0, 0.0]) == 0.0


@pytest.mark.parametrize("function", [effective_sample_size, largest_share])
@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1, -1], "weights must be finite and non-negative; got -1.0 at position 1"),
        ([1, np.inf], "weights must be finite and non-negative; got inf at position 1"),
        ([], "weights must hold at least one value; got length 0"),
        ([[1, 2]], r"weights must be 1-d, shape \(n,\); got shape \(1, 2\)"),
    ],
)
def test_bad_weights_are_refused(function, weights, text) -> None:
    with pytest.raises(ValueError, match=text):
        function(weights)


def test_clipped_share_counts_what_clipping_changes() -> None:
    propensity = np.array([[0.01, 0.05], [0.2, 1.0]])
    assert clipped_share(propensity, 0.05) == 0.25
    assert clipped_share(propensity, 0.1) == 0.5
    assert clipped_share(propensity, 0) == 0
    assert clipped_share(propensity, 0.1) == (np.maximum(propensity, 0.1) != propensity).mean()
    with pytest.raises(ValueError, match=r"clip must be a finite number in \[0, 1\]; got 1\.5"):
        clipped_share(propensity, 1.5)
    with pytest.raises(ValueError, match=r"propensities must be in \[0, 1\]; got 1\.2 at position 0"):
        clipped_share([1.2], 0.5)
    with pytest.raises(ValueError, match="propensity must hold at least one value"):
        clipped_share([], 0.5)


def test_calibration_error_by_hand() -> None:
    # two bins: {.2, .4} with one of two observed, {.6, .9} with both
    error = propensity_calibration([0.2, 0.4, 0.6, 0.9], [0, 1, 1, 1], bins=2)
    assert error == pytest.approx(0.5 * abs(0.5 - 0.3) + 0.5 * abs(1 - 0.75))
    assert propensity_calibration([0.2, 0.4, 0.6, 0.9], [0, 1, 1, 1], bins=1) == pytest.approx(0.75 - 0.525)
    assert propensity_calibration([0.0, 1.0], [0, 1]) == 0
    assert propensity_calibration([0.0, 1.0], [1, 0]) == 1


def test_quantile_bins_see_what_one_wide_bin_hides() -> None:
    low, high = np.full(5000, 0.02), np.full(5000, 0.08)
    observed = np.zeros(10_000)
    observed[:400], observed[5000:5100] = 1, 1  # rates .08 and .02: swapped, with the right mean
    propensity = np.concatenate([low, high])
    assert propensity_calibration(propensity, observed) == pytest.approx(0, abs=1e-12)
    assert propensity_calibration(propensity, observed, 2, strategy="quantile") == pytest.approx(0.06)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_true_propensities_are_calibrated_and_shifted_ones_are_not(strategy: str) -> None:
    rng = np.random.default_rng(0)
    propensity = rng.beta(1, 8, (200, 200))
    observed = rng.random(propensity.shape) < propensity
    right = propensity_calibration(propensity, observed, strategy=strategy)
    shifted = propensity_calibration(np.minimum(1, propensity + 0.1), observed, strategy=strategy)
    assert right < 0.01
    assert shifted == pytest.approx(0.1, abs=0.01)


def test_calibration_refuses() -> None:
    with pytest.raises(ValueError, match=r"shape of propensity, \(2,\); got \(3,\)"):
        propensity_calibration([0.1, 0.2], [0, 1, 1])
    with pytest.raises(ValueError, match="bins must be an integer of at least 1; got 0"):
        propensity_calibration([0.1], [0], 0)
    with pytest.raises(UnknownNameError, match=r"strategy='quantiles' .*did you mean 'quantile'"):
        propensity_calibration([0.1], [0], strategy="quantiles")
