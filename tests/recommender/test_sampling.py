"""Batches of pairs: membership of O against the dense matrix, and weights whose sums are means over D."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from wbm_ext.datasets import Ratings
from wbm_ext.recommender.sampling import (
    Batch,
    ObservedBatches,
    PairSpace,
    StratifiedBatches,
    UniformBatches,
    stratified_batch,
)


def small(seed: int = 0, density: float = 0.3) -> tuple[Ratings, np.ndarray, np.ndarray]:
    """Return ratings, labels, and the dense matrix of labels with -1 for unobserved."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((7, 9)) < density, rng.integers(0, 2, (7, 9)), -1)
    users, items = np.nonzero(dense >= 0)
    order = rng.permutation(len(users))
    users, items = users[order], items[order]
    labels = dense[users, items] == 1
    return Ratings(users, items, labels.astype(float), 7, 9), labels, dense


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_against(dense: np.ndarray, batch: Batch) -> None:
    truth = dense[batch.users.numpy(), batch.items.numpy()]
    np.testing.assert_array_equal(batch.observed.numpy(), truth >= 0)
    np.testing.assert_array_equal(batch.labels.numpy(), np.maximum(truth, 0))


def test_lookup_of_every_pair_agrees_with_the_dense_matrix() -> None:
    ratings, labels, dense = small()
    space = PairSpace(ratings, labels)
    observed, position = space.lookup(torch.arange(space.size))
    np.testing.assert_array_equal(observed.numpy(), dense.ravel() >= 0)
    np.testing.assert_array_equal(space.labels[position[observed]].numpy(), dense.ravel()[dense.ravel() >= 0])
    assert space.density == pytest.approx((dense >= 0).mean())


def test_unobserved_ranks_enumerate_exactly_the_unobserved_pairs() -> None:
    ratings, labels, dense = small()
    space = PairSpace(ratings, labels)
    keys = space.unobserved(torch.arange(space.n_unobserved))
    np.testing.assert_array_equal(keys.numpy(), np.flatnonzero(dense.ravel() < 0))


def test_uniform_batches_flag_observed_pairs_and_reach_all_of_d() -> None:
    ratings, labels, dense = small()
    space = PairSpace(ratings, labels)
    seen = np.zeros(dense.shape, dtype=int)
    for batch in UniformBatches(space, 200, steps=20, generator=generator()):
        check_against(dense, batch)
        assert torch.allclose(batch.weight, torch.full((200,), 1 / 200))
        np.add.at(seen, (batch.users.numpy(), batch.items.numpy()), 1)
    # 4000 draws over 63 cells: mean 63.5, sd 7.9; six sd either way
    assert seen.min() > 15
    assert seen.max() < 112


def test_observed_batches_hold_each_training_pair_once_an_epoch() -> None:
    ratings, labels, dense = small()
    space = PairSpace(ratings, labels, np.array([0, 5]))
    batches = ObservedBatches(space, 4, generator=generator())
    orders = []
    for _ in range(2):
        epoch = list(batches)
        keys = torch.cat([batch.users * 9 + batch.items for batch in epoch])
        held = {int(ratings.users[p] * 9 + ratings.items[p]) for p in (0, 5)}
        assert sorted(keys.tolist()) == sorted(set(ratings.observed_keys().tolist()) - held)
        for batch in epoch:
            check_against(dense, batch)
            assert float(batch.weight.sum()) == pytest.approx(1.0)
        assert max(len(b.users) for b in epoch) - min(len(b.users) for b in epoch) <= 1
        orders.append(keys.tolist())
    assert orders[0] != orders[1]


def test_stratified_weights_are_unbiased_by_enumeration() -> None:
    """Average over every (observed subset of 2) x (unobserved draw of 1) of a tiny space: the mean over D exactly."""
    ratings = Ratings([0, 0, 1, 2], [0, 2, 1, 0], [1.0, 0.0, 1.0, 1.0], 3, 3)
    labels = np.array([True, False, True, True])
    space = PairSpace(ratings, labels, dtype=torch.float64)
    h = torch.arange(9, dtype=torch.float64).square().reshape(3, 3)
    sums = []
    for subset in itertools.combinations(range(4), 2):
        treated = space.treated_batch(torch.tensor(subset))
        for rank in range(space.n_unobserved):
            users, items = space.pairs(space.unobserved(torch.tensor([rank])))
            probe = stratified_batch(space, torch.tensor(subset), 1, generator())
            values = torch.cat([h[treated.users, treated.items], h[users, items]])
            sums.append(float((probe.weight * values).sum()))
    assert np.mean(sums) == pytest.approx(float(h.mean()))


def test_stratified_batches_have_the_groups_asked_for() -> None:
    ratings, labels, dense = small()
    space = PairSpace(ratings, labels)
    batches = StratifiedBatches(space, 6, ratio=2.0, generator=generator(), untreated_generator=generator(1))
    for batch in batches:
        check_against(dense, batch)
        n = int(batch.observed.sum())
        assert len(batch.users) == 3 * n
        assert float(batch.weight.sum()) == pytest.approx(1.0)
        assert float(batch.weight[batch.observed].sum()) == pytest.approx(space.density)


def test_held_out_pairs_appear_in_no_group_and_weights_make_up_for_them() -> None:
    ratings, labels, _ = small()
    held_out = np.arange(0, len(ratings), 3)
    space = PairSpace(ratings, labels, held_out)
    hidden = set((ratings.users * 9 + ratings.items)[held_out].tolist())
    uniform = UniformBatches(space, 500, steps=40, generator=generator())
    stratified = StratifiedBatches(space, 5, generator=generator(), untreated_generator=generator(1))
    shares = []
    for batch in [*uniform, *stratified]:
        assert hidden.isdisjoint((batch.users * 9 + batch.items).tolist())
        shares.append(float(batch.weight[batch.observed].sum()))
    # weighted share of observed pairs: kappa, not kappa times the share that was kept
    assert np.mean(shares[:40]) == pytest.approx(space.density, abs=0.02)
    assert shares[40:] == pytest.approx([space.density] * (len(shares) - 40))


def test_a_fully_observed_space_has_one_group() -> None:
    ratings = Ratings([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 0.0, 1.0, 0.0])
    space = PairSpace(ratings, np.array([1, 0, 1, 0], dtype=bool))
    batches = StratifiedBatches(space, 4, generator=generator(), untreated_generator=generator(1))
    (batch,) = list(batches)
    assert bool(batch.observed.all())
    assert len(batch.users) == 4


def test_nothing_to_train_on_is_an_error() -> None:
    ratings, labels, _ = small()
    with pytest.raises(ValueError, match="every observed pair is held out"):
        PairSpace(ratings, labels, np.arange(len(ratings)))
