"""Uplift curves: cases worked by hand, an oracle that loops, orders whose area is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import auuc, auuc_separate, qini, qini_curve, uplift_curve

# In the order of the scores: treated 4, control 1, treated 2, control 3.
Y, TREATED, SCORES = [3.0, 4.0, 2.0, 1.0], [0, 1, 1, 0], [0.1, 0.9, 0.5, 0.7]

# Taken down from causalml 0.18.0 (auuc_score, qini_score) and scikit-uplift 0.5.1 (qini_auc_score).
CAUSALML_AUUC, CAUSALML_QINI = -0.026417172264648674, 0.5066182293166114
SKLIFT_QINI, SKLIFT_QINI_TIED = 0.12941649471639288, 0.0962721537213016


def loop(y, treatment, scores, kind: str) -> list[float]:
    """V or Q as the definition stands, k by k; holes filled by straight lines. For scores without ties."""
    order = sorted(range(len(y)), key=lambda place: -scores[place])
    values: list[float | None] = [0.0]
    for k in range(1, len(y) + 1):
        treated = [y[place] for place in order[:k] if treatment[place]]
        control = [y[place] for place in order[:k] if not treatment[place]]
        if kind == "uplift":
            both = treated and control
            values.append(sum(treated) / len(treated) - sum(control) / len(control) if both else None)
        else:
            values.append(sum(treated) - sum(control) * len(treated) / len(control) if control else None)
    for k, value in enumerate(values):
        if value is None:
            after = next(j for j in range(k, len(values)) if values[j] is not None)
            values[k] = values[k - 1] + (values[after] - values[k - 1]) / (after - k + 1)
    return [k * value for k, value in enumerate(values)] if kind == "uplift" else values


def random_case(seed: int, n: int = 60, *, binary: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    treatment = (rng.random(n) < 0.3).astype(int)
    treatment[:2] = 0, 1
    y = (rng.random(n) < 0.3 + 0.3 * treatment).astype(float) if binary else rng.normal(size=n) + treatment
    return y, treatment, rng.normal(size=n) + 0.3 * y


def test_curves_by_hand() -> None:
    # k = 1 has no control: the lift runs from 0 to that of k = 2
    assert uplift_curve(Y, TREATED, SCORES).tolist() == [0, 1.5, 2 * 3, 3 * (3 - 1), 4 * (3 - 2)]
    assert qini_curve(Y, TREATED, SCORES).tolist() == [0, 1.5, 4 - 1, 6 - 1 * 2, 6 - 4]
    assert uplift_curve(Y, TREATED, SCORES, empty="zero").tolist() == [0, 4, 6, 6, 4]
    assert qini_curve(Y, TREATED, SCORES, empty="zero").tolist() == [0, 4, 3, 4, 2]


def test_areas_by_hand() -> None:
    assert auuc(Y, TREATED, SCORES) == pytest.approx((0 + 1.5 + 6 + 6 + 4) / 5 / 4)
    assert auuc(Y, TREATED, SCORES, normalise=False) == pytest.approx((0 + 1.5 + 6 + 6 + 4) / 5)
    above = (0 + 1.5 + 3 + 4 + 2) / 5 - 2 / 2
    assert qini(Y, TREATED, SCORES, normalise="none") == pytest.approx(above)
    assert qini(Y, TREATED, SCORES) == pytest.approx(above / 2)


def test_values_of_causalml_and_scikit_uplift() -> None:
    rng = np.random.default_rng(12)
    treatment, y, scores = rng.integers(0, 2, 40), rng.integers(0, 2, 40), rng.permutation(40) / 40
    assert auuc(y, treatment, scores) == pytest.approx(CAUSALML_AUUC, abs=1e-12)
    assert qini(y, treatment, scores) == pytest.approx(CAUSALML_QINI, abs=1e-12)
    assert qini(y, treatment, scores, normalise="perfect") == pytest.approx(SKLIFT_QINI, abs=1e-12)
    tied = np.floor(scores * 8)
    assert qini(y, treatment, tied, normalise="perfect") == pytest.approx(SKLIFT_QINI_TIED, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 40))
def test_curves_agree_with_the_loop(seed: int, n: int) -> None:
    y, treatment, scores = random_case(seed, n)
    for ties in ("average", "order"):
        assert uplift_curve(y, treatment, scores, ties=ties) == pytest.approx(loop(y, treatment, scores, "uplift"))
        assert qini_curve(y, treatment, scores, ties=ties) == pytest.approx(loop(y, treatment, scores, "qini"))


def test_a_constant_score_gives_the_line_of_a_random_order() -> None:
    y, treatment, _ = random_case(1)
    constant = np.full(len(y), 0.7)
    total = uplift_curve(y, treatment, constant)[-1]
    assert total > 0
    assert uplift_curve(y, treatment, constant) == pytest.approx(np.linspace(0, total, len(y) + 1))
    assert auuc(y, treatment, constant) == pytest.approx(0.5)
    assert auuc(-y, treatment, constant) == pytest.approx(-0.5)
    for normalise in ("none", "total"):
        assert qini(y, treatment, constant, normalise=normalise) == pytest.approx(0, abs=1e-12)
    binary, treatment, _ = random_case(2, binary=True)
    assert qini(binary, treatment, constant, normalise="perfect") == pytest.approx(0, abs=1e-12)
    expected = (binary[treatment == 1].mean() - binary[treatment == 0].mean()) / 2
    assert auuc_separate(binary, treatment, constant) == pytest.approx(expected)


def test_equal_scores_do_not_depend_on_the_order_given() -> None:
    y, treatment, scores = random_case(3)
    tied, shuffle = np.round(scores), np.random.default_rng(0).permutation(len(y))
    for function in (auuc, qini):
        once, again = function(y, treatment, tied), function(y[shuffle], treatment[shuffle], tied[shuffle])
        assert again == pytest.approx(once)
        assert function(y, treatment, tied, ties="order") != pytest.approx(
            function(y[shuffle], treatment[shuffle], tied[shuffle], ties="order")
        )


def test_ties_are_worth_their_mean_over_orders() -> None:
    # one block, both arms equally many: V of a random order is linear in expectation where both arms are present
    y, treatment = np.array([2.0, 1.0, 4.0, 3.0] * 25), np.array([1, 0] * 50)
    rng = np.random.default_rng(0)
    draws = [auuc(y, treatment, rng.random(100)) for _ in range(3000)]
    assert np.mean(draws) == pytest.approx(auuc(y, treatment, np.zeros(100)), abs=4 * np.std(draws) / np.sqrt(3000))


def test_a_randomised_trial_ranks_by_the_effect() -> None:
    rng = np.random.default_rng(5)
    effect, treatment = rng.normal(1, 1, 4000), rng.integers(0, 2, 4000)
    y = rng.normal(size=4000) + effect * treatment
    # V(p) / V(1) = p + φ(Φ⁻¹(p)) for effects N(1, 1): area 1/2 + ∫ φ² = 1/2 + 1 / (2 √π); standard error 0.02
    gain = 1 / (2 * np.sqrt(np.pi))
    assert auuc(y, treatment, effect) == pytest.approx(0.5 + gain, abs=0.05)
    assert auuc(y, treatment, -effect) == pytest.approx(0.5 - gain, abs=0.05)
    assert qini(y, treatment, effect) == pytest.approx(gain, abs=0.05)
    assert qini(y, treatment, -effect) == pytest.approx(-gain, abs=0.05)


def test_the_best_order_has_qini_one_and_the_reversed_one_is_negative() -> None:
    y, treatment, _ = random_case(4, 200, binary=True)
    best = np.where(treatment == 1, y, -y)
    assert qini(y, treatment, best, normalise="perfect") == pytest.approx(1)
    assert qini(y, treatment, -best, normalise="perfect") < 0


def test_separate_area_by_hand_and_as_an_integral() -> None:
    # treated 1 0 by score, control 0 1: H_t area (1/2)(1/4 + 1/2), H_c area (1/2)(1/4)
    assert auuc_separate([1, 0, 0, 1], [1, 1, 0, 0], [4, 3, 2, 1]) == pytest.approx(0.375 - 0.125)
    y, treatment, scores = random_case(6, 300, binary=True)
    area = 0.0
    for sign, arm in ((1, 1), (-1, 0)):
        labels = y[treatment == arm][np.argsort(-scores[treatment == arm])]
        heights = np.concatenate([[0], np.cumsum(labels)]) / len(labels)
        area += sign * ((heights[1:] + heights[:-1]) / 2).mean()
    assert auuc_separate(y, treatment, scores) == pytest.approx(area)


def test_separate_area_of_an_arm_with_one_class() -> None:
    assert auuc_separate([1, 1, 0, 0], [1, 1, 0, 0], [1, 2, 3, 4]) == 0.5


def test_only_the_order_of_the_scores_matters() -> None:
    y, treatment, scores = random_case(7)
    assert auuc(y, treatment, np.exp(3 * scores)) == auuc(y, treatment, scores)
    assert auuc(5 * y, treatment, scores) == pytest.approx(auuc(y, treatment, scores))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: auuc(Y, [1, 1, 1, 1], SCORES), ValueError, "both arms for an uplift curve; got 4 treated of 4"),
        (lambda: auuc(Y, [0, 2, 1, 0], SCORES), ValueError, "treatment: values must be 0 or 1; got 2 at position 1"),
        (lambda: auuc(Y, TREATED, [1, 2, np.nan, 3]), ValueError, "scores: values must be finite; got nan"),
        (lambda: auuc(Y, TREATED, SCORES[:3]), ValueError, "scores must have the length of y, 4; got 3"),
        (lambda: auuc([], [], []), ValueError, "y must hold at least one value"),
        (lambda: auuc([1, 1, 1, 1], TREATED, SCORES), ValueError, "difference of the arms' means"),
        (lambda: auuc(Y, TREATED, SCORES, ties="mean"), UnknownNameError, "ties='mean' does not exist"),
        (
            lambda: auuc(Y, TREATED, SCORES, normalise="total"),
            TypeError,
            "normalise must be True or False; got 'total'",
        ),
        (lambda: uplift_curve(Y, TREATED, SCORES, empty="none"), UnknownNameError, "empty='none'"),
        (lambda: qini(Y, TREATED, SCORES, normalise="perfekt"), UnknownNameError, "did you mean 'perfect'"),
        (lambda: qini(Y, TREATED, SCORES, normalise="perfect"), ValueError, "y: values must be 0 or 1; got 3"),
        (lambda: qini([0] * 4, TREATED, SCORES, normalise="perfect"), ValueError, "y must let an order be better"),
        (lambda: auuc_separate(Y, TREATED, SCORES), ValueError, "y: values must be 0 or 1; got 3"),
    ],
)
def test_bad_input_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
