"""Training steps on rating data as a user's own loop has them: the plain one, and the balancing term added to it.

The model is matrix factorisation of size k with a propensity tower on the same embeddings; a step takes the prediction
error weighted by 1/q plus the likelihood of what is observed, backward, Adam. Nothing of it is ``wbm_ext.recommender``:
only the one line under test is this package's. Data are generated, missing not at random, in published shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from wbm_ext import losses
from wbm_ext.datasets import make_ratings

EPSILON = 0.05  # in units of mean(D)
TOLERANCE = 1e-3  # marginal residual: the noise of batches is far above it
CLIP = 0.05
OPTIONS: dict[str, Any] = {"clip": CLIP, "epsilon": EPSILON, "scale_cost": True, "tol": TOLERANCE}


@dataclass(frozen=True)
class Shape:
    """Users, items and observed ratings of a data set."""

    users: int
    items: int
    ratings: int

    @property
    def pairs(self) -> int:
        return self.users * self.items


COAT = Shape(290, 300, 6_960)
MUSIC = Shape(15_400, 1_000, 311_704)


@dataclass(frozen=True, eq=False)
class Data:
    """Observed pairs by their key u * items + i, ascending, with label 1[rating >= 3]."""

    shape: Shape
    keys: Tensor
    labels: Tensor


class Batch(NamedTuple):
    """Pairs of a step: observed ones first, then as many unobserved ones (labels 0)."""

    keys: Tensor
    users: Tensor
    items: Tensor
    observed: Tensor
    labels: Tensor


def generate(shape: Shape, seed: int = 0) -> Data:
    """Exactly ``shape.ratings`` generated ratings: a few more are drawn, and a random part of them is kept."""
    density = shape.ratings / shape.pairs
    spare = 6 * (density / shape.pairs) ** 0.5  # six standard deviations of the share that is drawn
    drawn = make_ratings(
        shape.users, shape.items, density=density + spare, test_per_user=1, q_min=density / 32, random_state=seed
    ).train
    if len(drawn) < shape.ratings:
        raise RuntimeError(f"the generator gave {len(drawn)} ratings, {shape.ratings} were wanted")
    kept = np.random.default_rng(seed).permutation(len(drawn))[: shape.ratings]
    keys = torch.from_numpy(drawn.users[kept] * shape.items + drawn.items[kept])
    order = keys.argsort()
    labels = torch.from_numpy(drawn.ratings[kept] >= 3).float()
    return Data(shape, keys[order], labels[order])


def batches(data: Data, pairs: int, count: int, seed: int = 0) -> list[Batch]:
    """``count`` batches of ``pairs`` pairs, half of them observed (without repeats in a batch).

    Raises
    ------
    ValueError
        ``pairs`` is odd, or half of it more than there are observed pairs.
    """
    half = pairs // 2
    if pairs % 2 or not 1 <= half <= len(data.keys):
        raise ValueError(f"pairs must be even and in [2, {2 * len(data.keys)}], got {pairs}")
    rng = torch.Generator().manual_seed(seed)
    drawn: list[Batch] = []
    while len(drawn) < count:
        for place in torch.randperm(len(data.keys), generator=rng)[: len(data.keys) // half * half].split(half):
            free = torch.randint(data.shape.pairs, (0,))
            while len(free) < half:
                more = torch.randint(data.shape.pairs, (2 * half,), generator=rng)
                free = torch.cat([free, more[~torch.isin(more, data.keys)]])
            keys = torch.cat([data.keys[place], free[:half]])
            labels = torch.cat([data.labels[place], torch.zeros(half)])
            users, items = keys // data.shape.items, keys % data.shape.items
            drawn.append(Batch(keys, users, items, torch.arange(pairs) < half, labels))
            if len(drawn) == count:
                break
    return drawn


class Model(nn.Module):
    """Logit of a positive rating <U_u, V_i> + c, and of being observed: a tower on φ = [U_u; V_i]."""

    def __init__(self, shape: Shape, k: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(shape.users, k), nn.Embedding(shape.items, k)
        self.bias = nn.Parameter(torch.zeros(()))
        self.tower = nn.Sequential(nn.Linear(2 * k, k, bias=False), nn.ReLU(), nn.Linear(k, 1))
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.tower[2].weight)
        nn.init.zeros_(self.tower[2].bias)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of a positive rating, and φ."""
        users, items = self.user(batch.users), self.item(batch.items)
        return (users * items).sum(1) + self.bias, torch.cat([users, items], 1)

    def propensity(self, phi: Tensor) -> Tensor:
        """Logits of being observed."""
        return self.tower(phi).squeeze(1)


Term = Callable[[Batch, Tensor, Tensor], Tensor]  # batch, logits of the propensity, φ (detached) -> scalar


class Trainer:
    """Model, optimiser and one step; ``term`` is the balancing loss, None leaves it out."""

    def __init__(self, data: Data, k: int, term: Term | None = None, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Model(data.shape, k)
        self.term = term
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01, weight_decay=4e-4, fused=True)

    def loss(self, batch: Batch) -> Tensor:
        rating, phi = self.model(batch)
        logit = self.model.propensity(phi)
        seen = batch.observed.to(logit.dtype)
        weight = seen / logit.detach().sigmoid().clamp(min=CLIP)
        error = cross_entropy(rating, batch.labels, weight, reduction="sum") / len(seen)
        loss = error + cross_entropy(logit, seen)
        if self.term is not None:
            loss = loss + self.term(batch, logit, phi.detach())
        return loss

    def step(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(batch).backward()
        self.optimizer.step()


def diagnose(trainer: Trainer, batch: Batch) -> losses.Balance:
    """WBM of a batch at the trainer's present state, with its diagnostics."""
    with torch.no_grad():
        phi = trainer.model(batch)[1]
        return losses.balance(trainer.model.propensity(phi), batch.observed, phi, logits=True, **OPTIONS)


def wbm(batch: Batch, logit: Tensor, phi: Tensor) -> Tensor:
    """The term as this package computes it."""
    return losses.wbm(logit, batch.observed, phi, logits=True, **OPTIONS)


def log_domain(batch: Batch, logit: Tensor, phi: Tensor) -> Tensor:
    """The same term by a plain logsumexp loop in torch, to the same residual, differentiated through the iterations."""
    q, seen = logit.sigmoid().clamp(CLIP, 1 - CLIP), batch.observed
    a, b = losses.inverse_propensity_masses(q[seen]), losses.inverse_propensity_masses(1 - q[~seen])
    D = losses.squared_distances(phi[seen], phi[~seen])
    D = D / D.mean()
    scaled, log_a, log_b = D / EPSILON, a.log(), b.log()
    v = torch.zeros_like(b)
    for index in range(1, 1001):
        u = log_a - torch.logsumexp(v[None, :] - scaled, 1)
        v = log_b - torch.logsumexp(u[:, None] - scaled, 0)
        if index % 10 == 0:
            with torch.no_grad():
                error = (torch.exp(u[:, None] + v[None, :] - scaled).sum(1) - a).abs().sum()
            if float(error) <= TOLERANCE:
                break
    return (D * torch.exp(u[:, None] + v[None, :] - scaled)).sum()
