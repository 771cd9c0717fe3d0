"""Ranking metrics of debiased recommendation, computed on the unbiased test pairs only.

A user's list consists of that user's test pairs, ordered by score from high to low; pairs with equal scores
keep the order in which they were given. AUC alone is pooled over all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import as_binary, as_ids, as_vector, check_count, check_same_length, reject
from wbm_ext.errors import check_name


def auc(labels: Any, scores: Any) -> float:
    r"""Area under the ROC curve, pooled over all pairs.

    With R the rank of a score among all n (ties: average rank), n1 positives and n0 negatives::

        AUC = (sum of R over positives - n1 (n1 + 1) / 2) / (n1 n0)

    Parameters
    ----------
    labels : array of 0/1, shape (n,)
    scores : array, shape (n,)
        Higher means more likely positive.

    Returns
    -------
    float
        In [0, 1]; one half for a constant score.

    Raises
    ------
    ValueError
        Labels of one class only, labels other than 0/1, a score that is not finite, lengths that differ.
    """
    positive, values = _labels_and_scores(labels, scores)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"labels must hold both classes for AUC; got {n_positive} positive and {n_negative} negative")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    average_rank = np.cumsum(counts) - 0.5 * (counts - 1)
    rank_sum = float(average_rank[place[positive]].sum())
    return (rank_sum - 0.5 * n_positive * (n_positive + 1)) / (n_positive * n_negative)


def ndcg_at_k(users: Any, labels: Any, scores: Any, k: int = 5, *, no_positive: str = "one") -> float:
    r"""Normalised discounted cumulative gain of the first k, mean over users.

    With y_(j) the label at place j of the user's list and y*_(j) the same for the best order::

        NDCG_u = sum_{j <= k} y_(j) / log2(j + 1)  /  sum_{j <= k} y*_(j) / log2(j + 1)

    Parameters
    ----------
    users : array of int, shape (n,)
        User of each test pair; any integers.
    labels : array of 0/1, shape (n,)
    scores : array, shape (n,)
    k : int
        Length of the list, at least 1.
    no_positive : {"one", "zero", "skip"}
        What a user without a positive counts: 1 (the usual public code), 0, or nothing at all.

    Raises
    ------
    UnknownNameError
        ``no_positive`` does not exist.
    ValueError
        Bad input, or ``"skip"`` where no user has a positive.
    """
    return _ndcg(_user_lists(users, labels, scores, k), no_positive)


def precision_at_k(users: Any, labels: Any, scores: Any, k: int = 5) -> float:
    """Mean over users of (positives among the first k) / k; k also divides if a user has fewer pairs.

    Parameters and errors are those of :func:`ndcg_at_k`.
    """
    return float(_user_lists(users, labels, scores, k).precision.mean())


def recall_at_k(users: Any, labels: Any, scores: Any, k: int = 5) -> float:
    """Mean over users of (positives among the first k) / max(1, positives of the user).

    Parameters and errors are those of :func:`ndcg_at_k`.
    """
    return float(_user_lists(users, labels, scores, k).recall.mean())


def hit_rate_at_k(users: Any, labels: Any, scores: Any, k: int = 5) -> float:
    """Share of the users with a positive among the first k.

    Parameters and errors are those of :func:`ndcg_at_k`.
    """
    return float((_user_lists(users, labels, scores, k).hits > 0).mean())


def coverage_at_k(users: Any, items: Any, scores: Any, n_items: int, k: int = 5) -> float:
    """Share of the ``n_items`` items that are among the first k of some user.

    Parameters
    ----------
    users, items : array of int, shape (n,)
        Of each pair; items in [0, n_items).
    scores : array, shape (n,)
    n_items, k : int
    """
    who, things = as_vector("users", users), as_ids("items", items, check_count("n_items", n_items))
    values = as_vector("scores", scores).astype(np.float64)
    check_same_length(users=who, items=things, scores=values)
    order = np.lexsort((-values, who))
    _, sizes = np.unique(who, return_counts=True)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return len(np.unique(things[order][place < check_count("k", k)])) / n_items


def tied_users(users: Any, scores: Any) -> float:
    """Return the share of users with two pairs of one score: the order of their lists is then that of the rows."""
    who, values = as_vector("users", users), as_vector("scores", scores)
    check_same_length(users=who, scores=values)
    order = np.lexsort((values, who))
    same = (np.diff(who[order]) == 0) & (np.diff(values[order]) == 0)
    return len(np.unique(who[order][1:][same])) / len(np.unique(who)) if len(who) else 0.0


def f1_at_k(users: Any, labels: Any, scores: Any, k: int = 5, *, average: str = "of_means") -> float:
    """Harmonic mean of precision and recall at k, 2 P R / (P + R), 0 where both are 0.

    Parameters
    ----------
    users, labels, scores, k
        As for :func:`ndcg_at_k`.
    average : {"of_means", "macro"}
        ``"of_means"``: P and R are first averaged over users (what published tables hold).
        ``"macro"``: the F1 of each user, averaged.

    Raises
    ------
    UnknownNameError
        ``average`` does not exist.
    ValueError
        Bad input.
    """
    return _f1(_user_lists(users, labels, scores, k), average)


def ranking_report(
    users: Any, labels: Any, scores: Any, k: int = 5, *, no_positive: str = "one", average: str = "of_means"
) -> dict[str, float]:
    """Return AUC, NDCG@k and F1@k under the keys ``"auc"``, ``"ndcg@<k>"`` and ``"f1@<k>"``.

    Parameters and errors are those of :func:`auc`, :func:`ndcg_at_k` and :func:`f1_at_k`.
    """
    lists = _user_lists(users, labels, scores, k)
    return {
        "auc": auc(labels, scores),
        f"ndcg@{lists.k}": _ndcg(lists, no_positive),
        f"f1@{lists.k}": _f1(lists, average),
    }


@dataclass(frozen=True)
class _UserLists:
    """Per user, shape (n_users,): gain and hits of the first k, and positives in all."""

    k: int
    gain: NDArray[np.float64]
    hits: NDArray[np.float64]
    positives: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        return self.hits / self.k

    @property
    def recall(self) -> NDArray[np.float64]:
        return self.hits / np.maximum(1, self.positives)


def _user_lists(users: Any, labels: Any, scores: Any, k: int) -> _UserLists:
    k = check_count("k", k)
    who = as_vector("users", users)
    if who.dtype.kind not in "iu" and who.size:
        raise TypeError(f"users must hold integer ids; got dtype {who.dtype}")
    positive, values = _labels_and_scores(labels, scores)
    check_same_length(users=who, labels=positive)
    _, who, sizes = np.unique(who, return_inverse=True, return_counts=True)
    order = np.lexsort((-values, who))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    hit = (positive[order] & (place < k)).astype(np.float64)
    grouped = who[order]
    return _UserLists(
        k=k,
        gain=np.bincount(grouped, hit / np.log2(place + 2.0), len(sizes)),
        hits=np.bincount(grouped, hit, len(sizes)),
        positives=np.bincount(who[positive], minlength=len(sizes)),
    )


def _ndcg(lists: _UserLists, no_positive: str) -> float:
    check_name("no_positive", no_positive, ("one", "zero", "skip"))
    longest = min(lists.k, int(lists.positives.max()))
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(longest) + 2.0))])
    best = ideal[np.minimum(lists.positives, lists.k)]
    has_positive = best > 0
    values = np.divide(lists.gain, best, out=np.full(len(best), float(no_positive == "one")), where=has_positive)
    if no_positive == "skip":
        if not has_positive.any():
            raise ValueError("labels must hold a positive for no_positive='skip'; got none for any user")
        values = values[has_positive]
    return float(values.mean())


def _f1(lists: _UserLists, average: str) -> float:
    check_name("average", average, ("of_means", "macro"))
    precision, recall = lists.precision, lists.recall
    if average == "of_means":
        precision, recall = precision.mean(keepdims=True), recall.mean(keepdims=True)
    total = precision + recall
    return float(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0).mean())


def _labels_and_scores(labels: Any, scores: Any) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive = as_binary("labels", as_vector("labels", labels))
    values = as_vector("scores", scores).astype(np.float64)
    check_same_length(labels=positive, scores=values)
    if len(positive) == 0:
        raise ValueError("labels must hold at least one pair; got length 0")
    reject("scores", ~np.isfinite(values), values, "scores must be finite")
    return positive, values
