"""Ranking metrics against numbers worked by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from wbm_ext import metrics
from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import auc, f1_at_k, ndcg_at_k, precision_at_k, ranking_report, recall_at_k

# By score: user 7 has labels 1 0 1 (in the order 9, 5, 2), user 3 has 0 1, user 4 has no positive.
USERS = [7, 3, 7, 4, 3, 7, 4]
LABELS = [0, 1, 1, 0, 0, 1, 0]
SCORES = [5.0, 1.0, 2.0, 8.0, 3.0, 9.0, 0.0]
LOG3 = 1 / np.log2(3)
NDCG_7, NDCG_3 = 1 / (1 + LOG3), LOG3  # k = 2: gain 1 of 1 + 1/log2 3; gain 1/log2 3 of 1


@pytest.fixture
def random_case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    users = rng.integers(0, 40, 800)
    labels = rng.random(800) < 0.3
    scores = rng.standard_normal(800) + labels  # no ties
    return users, labels.astype(int), scores


def test_auc_by_hand() -> None:
    # positives 1, 2, 9 against negatives 0, 3, 5, 8: 1 + 1 + 4 pairs of 12 are in order
    assert auc(LABELS, SCORES) == pytest.approx(6 / 12)


def test_auc_counts_a_tie_as_half() -> None:
    assert auc([1, 0], [2.0, 2.0]) == 0.5
    assert auc([1, 1, 0, 0], [3, 2, 2, 1]) == pytest.approx((2 + 1.5) / 4)
    assert auc([0, 1, 0, 1, 1], np.zeros(5)) == 0.5


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes for AUC; got 2 positive and 0 negative"):
        auc([1, 1], [0.1, 0.2])


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_agrees_with_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 500), rng.integers(0, levels, 500) / levels
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("no_positive", "expected"),
    [
        ("one", (NDCG_7 + NDCG_3 + 1) / 3),
        ("zero", (NDCG_7 + NDCG_3) / 3),
        ("skip", (NDCG_7 + NDCG_3) / 2),
    ],
)
def test_ndcg_by_hand(no_positive: str, expected: float) -> None:
    assert ndcg_at_k(USERS, LABELS, SCORES, 2, no_positive=no_positive) == pytest.approx(expected)


def test_ndcg_counts_users_without_a_positive_as_one_unless_told() -> None:
    assert ndcg_at_k(USERS, LABELS, SCORES, 2) == ndcg_at_k(USERS, LABELS, SCORES, 2, no_positive="one")


def test_ndcg_by_hand_with_a_longer_list_than_pairs() -> None:
    expected_7 = (1 + 1 / np.log2(4)) / (1 + LOG3)
    assert ndcg_at_k(USERS, LABELS, SCORES, 50) == pytest.approx((expected_7 + LOG3 + 1) / 3)


def test_equal_scores_keep_the_order_given() -> None:
    assert ndcg_at_k([0, 0], [1, 0], [1.0, 1.0], 1) == 1
    assert ndcg_at_k([0, 0], [0, 1], [1.0, 1.0], 1) == 0
    assert precision_at_k([0, 1, 0, 1], [1, 0, 0, 1], np.zeros(4), 1) == 0.5


@pytest.mark.parametrize("k", [1, 5, 100])
def test_ndcg_agrees_with_scikit_learn(random_case, k: int) -> None:
    users, labels, scores = random_case
    each = [
        ndcg_score([labels[users == user]], [scores[users == user]], k=k)
        for user in np.unique(users)
        if labels[users == user].any()
    ]
    assert ndcg_at_k(users, labels, scores, k, no_positive="skip") == pytest.approx(np.mean(each), abs=1e-12)


def test_precision_recall_and_f1_by_hand() -> None:
    # k = 2, hits 1, 1, 0; positives 2, 1, 0
    assert precision_at_k(USERS, LABELS, SCORES, 2) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert recall_at_k(USERS, LABELS, SCORES, 2) == pytest.approx((1 / 2 + 1 + 0) / 3)
    of_means = 2 / (1 / (1 / 3) + 1 / (1 / 2))
    macro = (1 / 2 + 2 / 3 + 0) / 3
    assert of_means == pytest.approx(0.4)
    assert f1_at_k(USERS, LABELS, SCORES, 2) == pytest.approx(of_means)
    assert f1_at_k(USERS, LABELS, SCORES, 2, average="macro") == pytest.approx(macro)
    assert abs(of_means - macro) > 0.01


def test_precision_divides_by_k_even_if_a_user_has_fewer_pairs() -> None:
    assert precision_at_k([0, 0], [1, 1], [1, 2], 5) == pytest.approx(2 / 5)
    assert recall_at_k([0, 0], [1, 1], [1, 2], 5) == 1


def test_f1_without_any_hit_is_zero() -> None:
    for average in ("of_means", "macro"):
        assert f1_at_k([0, 0], [0, 1], [2, 1], 1, average=average) == 0


def test_the_report_holds_the_three_metrics() -> None:
    report = ranking_report(USERS, LABELS, SCORES, 2, no_positive="skip", average="macro")
    assert report == {
        "auc": auc(LABELS, SCORES),
        "ndcg@2": ndcg_at_k(USERS, LABELS, SCORES, 2, no_positive="skip"),
        "f1@2": f1_at_k(USERS, LABELS, SCORES, 2, average="macro"),
    }
    assert list(ranking_report(USERS, LABELS, SCORES)) == ["auc", "ndcg@5", "f1@5"]


def test_a_perfect_and_a_reversed_ranking(random_case) -> None:
    users, labels, _ = random_case
    best, worst = ranking_report(users, labels, labels), ranking_report(users, labels, -labels)
    assert (best["auc"], best["ndcg@5"], worst["auc"]) == (1, 1, 0)
    assert worst["ndcg@5"] < 0.2


def test_metrics_depend_on_the_order_of_scores_alone(random_case) -> None:
    users, labels, scores = random_case
    expected = ranking_report(users, labels, scores)
    order = np.random.default_rng(0).permutation(len(users))
    shuffled = ranking_report(1000 - users[order], labels[order], np.exp(3 * scores[order]))
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_tensors_are_taken() -> None:
    report = ranking_report(torch.tensor(USERS), torch.tensor(LABELS).bool(), torch.tensor(SCORES, requires_grad=True))
    assert report == ranking_report(USERS, LABELS, SCORES)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"labels": [0, 1, 2, 0, 0, 1, 0]}, ValueError, "labels: values must be 0 or 1; got 2 at position 2"),
        ({"scores": [1.0, np.nan, *SCORES[2:]]}, ValueError, "scores must be finite; got nan at position 1"),
        ({"scores": SCORES[:3]}, ValueError, "scores must have the length of labels, 7; got 3"),
        ({"users": USERS[:3]}, ValueError, "labels must have the length of users, 3; got 7"),
        ({"users": np.array(USERS, float)}, TypeError, "users must hold integer ids; got dtype float64"),
        ({"users": [], "labels": [], "scores": []}, ValueError, "at least one pair; got length 0"),
        ({"k": 0}, ValueError, "k must be an integer of at least 1; got 0"),
        ({"k": 2.5}, TypeError, r"k must be an integer of at least 1; got 2\.5"),
        ({"no_positive": "ones"}, UnknownNameError, "no_positive='ones' .*did you mean 'one'"),
        ({"average": "makro"}, UnknownNameError, "average='makro' .*did you mean 'macro'"),
    ],
)
def test_bad_input_is_refused(changes, error, text) -> None:
    arguments = {"users": USERS, "labels": LABELS, "scores": SCORES, "k": 2} | changes
    with pytest.raises(error, match=text):
        ranking_report(**arguments)


def test_skip_needs_a_user_with_a_positive() -> None:
    with pytest.raises(ValueError, match="labels must hold a positive for no_positive='skip'"):
        ndcg_at_k([0, 1], [0, 0], [1, 2], no_positive="skip")


def test_hits_coverage_and_ties_of_a_case_by_hand() -> None:
    users, items = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 3]
    labels, scores = [0, 1, 0, 0, 0, 1], [3.0, 2.0, 1.0, 0.5, 0.5, 0.1]
    assert metrics.hit_rate_at_k(users, labels, scores, 1) == 0
    assert metrics.hit_rate_at_k(users, labels, scores, 2) == 0.5
    assert metrics.hit_rate_at_k(users, labels, scores, 3) == 1
    assert metrics.coverage_at_k(users, items, scores, 8, 1) == 1 / 8
    assert metrics.coverage_at_k(users, items, scores, 8, 9) == 4 / 8
    assert metrics.tied_users(users, scores) == 0.5
    assert metrics.tied_users(users, range(6)) == 0
