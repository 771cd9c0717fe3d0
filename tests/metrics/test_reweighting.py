"""Distance of two groups before and after weighting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wbm_ext import losses
from wbm_ext.datasets import make_treatments
from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import effective_sample_size, reweighted_distance

PHI = np.array([[0.0], [1.0], [0.0], [1.0]])
TREATED = [1, 1, 0, 0]


def test_equal_groups_are_at_distance_zero_until_weights_pull_them_apart() -> None:
    even = reweighted_distance(PHI, TREATED, [0.5] * 4, scale_cost=False, epsilon=0.01)
    assert even["wbm_before"] == even["wbm_after"] == pytest.approx(0, abs=1e-6)
    # masses .1 and .9 on 0 and 1 against a half each: four tenths travel a distance of 1
    skewed = reweighted_distance(PHI, TREATED, [0.9, 0.1, 0.5, 0.5], scale_cost=False, epsilon=0.01)
    assert skewed["wbm_after"] == pytest.approx(0.4, abs=1e-6)
    assert skewed["ess_treated"] == pytest.approx(effective_sample_size([1 / 0.9, 1 / 0.1]))
    assert skewed["ess_other"] == pytest.approx(2)


def test_the_value_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    phi, treated, q = rng.normal(size=(40, 3)), rng.integers(0, 2, 40), rng.uniform(0.1, 0.9, 40)
    got = reweighted_distance(phi, treated, q, against="all", epsilon=0.5, scale_cost=False)
    expected = losses.wbm(
        torch.tensor(q), torch.tensor(treated), torch.tensor(phi), against="all", epsilon=0.5, max_iter=10_000
    )
    assert got["wbm_after"] == pytest.approx(float(expected), rel=1e-6)


def test_true_propensities_bring_the_groups_together_and_reversed_ones_apart() -> None:
    data = make_treatments(600, 3, overlap=0.5, treated=0.5, random_state=1)
    right = reweighted_distance(data.X, data.treatment, data.propensities)
    wrong = reweighted_distance(data.X, data.treatment, 1 - data.propensities)
    assert right["wbm_after"] < right["wbm_before"] < wrong["wbm_after"]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"representation": [1.0, 2.0, 3.0, 4.0]}, ValueError, r"representation must be 2-d.*got shape \(4,\)"),
        ({"representation": PHI * np.nan}, ValueError, "representation: values must be finite"),
        ({"treatment": [1, 1, 1, 1]}, ValueError, "treatment must hold both groups; got 4 treated of 4"),
        ({"treatment": [1, 0]}, ValueError, "treatment must have the length of representation, 4; got 2"),
        ({"propensity": [0.5, 0.5, 2, 0]}, ValueError, r"propensities must be in \[0, 1\]; got 2"),
        ({"against": "everyone"}, UnknownNameError, "against='everyone' does not exist"),
        ({"clip": 0.6}, ValueError, r"clip must be in \[0, 0\.5\)"),
    ],
)
def test_bad_input_is_refused(changes, error, text) -> None:
    arguments = {"representation": PHI, "treatment": TREATED, "propensity": [0.5] * 4} | changes
    with pytest.raises(error, match=text):
        reweighted_distance(**arguments)
