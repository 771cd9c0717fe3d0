"""Mini-batches from the space D of all user-item pairs, which is never materialised.

D is addressed by the key u * n_items + i. O is kept as its sorted keys; ``searchsorted`` tells whether a key
stands in O, and which unobserved key is the r-th one. Memory is O(|O|), a lookup O(B log |O|).

Every batch carries a weight for each of its pairs such that, for any function h of a pair, the expectation of
sum_b weight_b h(pair_b) is the mean of h over D (over O for :class:`ObservedBatches`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from wbm_ext.datasets import Ratings


class Batch(NamedTuple):
    """Pairs of one step: ``users``, ``items`` int64 (B,); ``observed`` bool (B,); ``labels`` (B,), 0 where
    not observed; ``weight`` (B,), see the module's text."""

    users: torch.Tensor
    items: torch.Tensor
    observed: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor

    def take(self, index: torch.Tensor | slice) -> Batch:
        """Return the pairs at ``index`` (positions, mask or slice), weights as they are."""
        return Batch(*(part[index] for part in self))


class PairSpace:
    """D with its observed part O, of which some pairs may be held out.

    Held-out pairs are observed, but their labels must not be seen: they are given neither as observed nor as
    unobserved pairs, and the weights of the remaining observed ones grow by |O| / |O without held-out|.

    Parameters
    ----------
    ratings : Ratings
        The observed pairs (each pair once: :class:`Ratings` sees to it).
    labels : array of bool, (len(ratings),)
        Binary labels.
    held_out : array of int, optional
        Positions in ``ratings`` that are held out.

    Attributes
    ----------
    density : float
        kappa = |O| / |D|, held-out pairs included.
    n_train : int
        Observed pairs that are not held out.

    Raises
    ------
    ValueError
        If every pair is held out.
    """

    def __init__(
        self,
        ratings: Ratings,
        labels: np.ndarray,
        held_out: np.ndarray | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_users, self.n_items = ratings.n_users, ratings.n_items
        self.size = self.n_users * self.n_items
        keys = ratings.users * self.n_items + ratings.items
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        trainable = np.ones(len(keys), dtype=bool)
        if held_out is not None:
            trainable[held_out] = False
        if not trainable.any():
            raise ValueError("ratings leaves no pair to train on: every observed pair is held out")
        self.device = torch.device(device)
        self.keys = torch.from_numpy(keys).to(self.device)
        self.labels = torch.as_tensor(np.asarray(labels)[order], dtype=dtype, device=self.device)
        self.trainable = torch.from_numpy(trainable[order]).to(self.device)
        self.train_positions = torch.nonzero(self.trainable).flatten()
        self.density = len(keys) / self.size
        self.n_observed, self.n_unobserved = len(keys), self.size - len(keys)
        self.n_train = len(self.train_positions)
        # The number of unobserved keys below each observed one: what turns a rank into a key.
        self._unobserved_below = self.keys - torch.arange(len(keys), device=self.device)

    def pairs(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (users, items) of ``keys``."""
        return torch.div(keys, self.n_items, rounding_mode="floor"), keys % self.n_items

    def lookup(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (observed, position in the sorted O; meaningful where observed), each (B,)."""
        position = torch.searchsorted(self.keys, keys).clamp_(max=self.n_observed - 1)
        return self.keys[position] == keys, position

    def unobserved(self, ranks: torch.Tensor) -> torch.Tensor:
        """Return the keys of the unobserved pairs of the given ranks (0 .. n_unobserved - 1).

        The rank-r unobserved key is r + j, with j the number of observed keys below it: those with k_j - j <=
        r.
        """
        return ranks + torch.searchsorted(self._unobserved_below, ranks, right=True)

    def treated_batch(self, positions: torch.Tensor) -> Batch:
        """Return the observed pairs at ``positions`` of the sorted O, weight 1/n each."""
        users, items = self.pairs(self.keys[positions])
        labels = self.labels[positions]
        ones = torch.ones_like(labels)
        return Batch(users, items, ones.bool(), labels, ones / len(positions))


def _shuffled(space: PairSpace, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield the training positions in random order, in ceil(n / batch_size) parts of almost equal size."""
    order = torch.randperm(space.n_train, generator=generator).to(space.device)
    yield from torch.tensor_split(space.train_positions[order], math.ceil(space.n_train / batch_size))


class ObservedBatches:
    """All training pairs of O once an epoch, in random order: weights 1/n, means over O."""

    def __init__(self, space: PairSpace, batch_size: int, *, generator: torch.Generator) -> None:
        self.space, self.batch_size, self.generator = space, batch_size, generator

    def __iter__(self) -> Iterator[Batch]:
        for positions in _shuffled(self.space, self.batch_size, self.generator):
            yield self.space.treated_batch(positions)


class UniformBatches:
    """``batch_size`` pairs of D, uniformly with replacement; ``steps`` batches an epoch.

    On average kappa * batch_size of the pairs are observed; there may be none. Held-out pairs that are drawn
    are dropped.
    """

    def __init__(self, space: PairSpace, batch_size: int, *, steps: int, generator: torch.Generator) -> None:
        self.space, self.batch_size, self.steps, self.generator = space, batch_size, steps, generator

    def __iter__(self) -> Iterator[Batch]:
        space = self.space
        for _ in range(self.steps):
            keys = torch.randint(space.size, (self.batch_size,), generator=self.generator).to(space.device)
            observed, position = space.lookup(keys)
            kept = ~observed | space.trainable[position]
            keys, observed, position = keys[kept], observed[kept], position[kept]
            labels = torch.where(observed, space.labels[position], 0.0)
            weight = torch.where(observed, space.n_observed / space.n_train, 1.0).to(labels) / self.batch_size
            yield Batch(*space.pairs(keys), observed, labels, weight)


class StratifiedBatches:
    """n observed pairs (each once an epoch) and m = ``round(ratio * n)`` unobserved ones (with replacement).

    Weights kappa / n and (1 - kappa) / m: weighted sums are unbiased for means over D, and both groups are as
    large as one wants, whatever the density.
    """

    def __init__(
        self,
        space: PairSpace,
        batch_size: int,
        *,
        ratio: float = 1.0,
        generator: torch.Generator,
        untreated_generator: torch.Generator,
    ) -> None:
        self.space, self.batch_size, self.ratio = space, batch_size, ratio
        self.generator, self.untreated_generator = generator, untreated_generator

    def __iter__(self) -> Iterator[Batch]:
        for positions in _shuffled(self.space, self.batch_size, self.generator):
            count = max(1, round(self.ratio * len(positions)))
            yield stratified_batch(self.space, positions, count, self.untreated_generator)


def stratified_batch(space: PairSpace, positions: torch.Tensor, count: int, generator: torch.Generator) -> Batch:
    """Return the observed pairs at ``positions`` and ``count`` unobserved ones, with the weights of D.

    If every pair of D is observed there is nothing to add, and the batch holds the observed pairs alone.
    """
    treated = space.treated_batch(positions)
    if space.n_unobserved == 0:
        return treated
    ranks = torch.randint(space.n_unobserved, (count,), generator=generator).to(space.device)
    users, items = space.pairs(space.unobserved(ranks))
    zeros = torch.zeros(count, dtype=treated.labels.dtype, device=space.device)
    return Batch(
        torch.cat([treated.users, users]),
        torch.cat([treated.items, items]),
        torch.cat([treated.observed, zeros.bool()]),
        torch.cat([treated.labels, zeros]),
        torch.cat([space.density * treated.weight, zeros + (1.0 - space.density) / count]),
    )
