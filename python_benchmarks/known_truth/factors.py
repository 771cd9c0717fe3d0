"""Models fitted to observed ratings: biases and factors by alternating least squares, and who observes what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """Rating = mean + user bias + item bias + <user factors, item factors>."""

    mean: float
    user_bias: Array
    item_bias: Array
    user_factors: Array
    item_factors: Array

    def matrix(self) -> Array:
        """The rating of every pair, shape (n_users, n_items)."""
        return self.mean + self.user_bias[:, None] + self.item_bias + self.user_factors @ self.item_factors.T


def factorise(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    ratings: Array,
    shape: tuple[int, int],
    *,
    rank: int,
    ridge: float,
    bias_ridge: float = 3.0,
    sweeps: int = 6,
    weights: Array | None = None,
    seed: int = 0,
) -> Factors:
    """Alternating least squares, first of the biases, then of the factors of what the biases leave.

    minimises sum w (y - <P_u, Q_i>)^2 + ridge (|P|^2 + |Q|^2), the w brought to mean 1.
    """
    n_users, n_items = shape
    w = np.ones(len(ratings)) if weights is None else weights / weights.mean()
    mean = float(np.average(ratings, weights=w))
    user_bias, item_bias = np.zeros(n_users), np.zeros(n_items)
    per_user, per_item = np.bincount(users, w, n_users), np.bincount(items, w, n_items)
    for _ in range(15):
        left = w * (ratings - mean - item_bias[items])
        user_bias = np.bincount(users, left, n_users) / (per_user + bias_ridge)
        left = w * (ratings - mean - user_bias[users])
        item_bias = np.bincount(items, left, n_items) / (per_item + bias_ridge)
    left = ratings - mean - user_bias[users] - item_bias[items]
    rng = np.random.default_rng(seed)
    P, Q = rng.normal(0, 0.1, (n_users, rank)), rng.normal(0, 0.1, (n_items, rank))
    by_user, by_item = np.argsort(users, kind="stable"), np.argsort(items, kind="stable")
    for _ in range(sweeps):
        P = _side(users, items, left, w, by_user, n_users, Q, ridge)
        Q = _side(items, users, left, w, by_item, n_items, P, ridge)
    return Factors(mean, user_bias, item_bias, P, Q)


def _side(
    own: NDArray[np.int64],
    other: NDArray[np.int64],
    y: Array,
    w: Array,
    order: NDArray[np.intp],
    count: int,
    F: Array,
    ridge: float,
) -> Array:
    """Factors of one side given those of the other, F: a ridge regression a user or item; 0 where it has no rating."""
    k = F.shape[1]
    ids, X = own[order], F[other[order]]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    Xw = X * w[order, None]
    gram = np.add.reduceat((Xw[:, :, None] * X[:, None, :]).reshape(len(X), k * k), starts).reshape(-1, k, k)
    moment = np.add.reduceat(Xw * y[order, None], starts)
    found = np.zeros((count, k))
    found[ids[starts]] = np.linalg.solve(gram + ridge * np.eye(k), moment[..., None])[..., 0]
    return found


def observation_model(
    observed: NDArray[np.bool_],
    *,
    rank: int = 4,
    steps: int = 150,
    lr: float = 0.05,
    decay: float = 2e-6,
    seed: int = 0,
) -> Array:
    """P(observed) of every pair by logistic factorisation with biases, a propensity learned from what was observed."""
    rng, (n_users, n_items) = torch.Generator().manual_seed(seed), observed.shape
    share = float(observed.mean())
    offset = torch.full((), float(np.log(share / (1 - share))))
    user, item = torch.zeros(n_users, 1), torch.zeros(1, n_items)
    A, B = 0.1 * torch.randn(n_users, rank, generator=rng), 0.1 * torch.randn(rank, n_items, generator=rng)
    parameters = [one.requires_grad_() for one in (user, item, A, B, offset)]
    target = torch.as_tensor(observed, dtype=torch.float32)
    optimizer = torch.optim.Adam(parameters, lr)
    for _ in range(steps):
        logits = user + item + A @ B + offset
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss = loss + decay * sum(one.square().sum() for one in parameters[:4])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.sigmoid(logits.detach()).double().numpy()
