"""Weights of the observed pairs that bring them near the whole space in transport.

Two ways. In batches, as in training: w ∝ base exp(δ(x)), δ a small network of the features, and the loss is a transport
cost between a weighted batch of observed pairs and a batch of all pairs, plus penalty × mean δ². At once: one transport
problem whose row marginal is relaxed, and the weights are the row sums of its plan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import wbm_ext
from wbm_ext.losses import squared_distances

Array = NDArray[np.float64]
Sampler = Callable[[int, np.random.Generator], Array]

OBJECTIVES = ("plain", "debiased", "split")


def batch_weights(
    base: Array,
    x: Array,
    sample: Sampler,
    *,
    objective: str = "plain",
    penalty: float = 0.0,
    steps: int = 100,
    batch: int = 192,
    epsilon: float = 0.05,
    lr: float = 0.02,
    seed: int = 0,
) -> Array:
    """Weights of a network of the features, trained on batches.

    Parameters
    ----------
    base : array, shape (n,)
    x : array, shape (n, k)
    sample : callable
        (size, generator) -> features of that many random pairs of the whole space.
    objective : {"plain", "debiased", "split"}
        With X, Y batches of observed and of all pairs, a the weights in X, b uniform, W = <D, P*>, V the regularised
        cost with the entropy relative to a bᵀ. "plain": W(X, Y), as WBM. "debiased": V(X, Y) - V(X, X)/2; the constant
        V(Y, Y) is left out. "split": V(X, Y)/2 + V(X', Y)/2 - V(X, X')/2 with X, X' disjoint, so that all three have
        the bias of finite batches of these effective sizes; that of V(X, X), whose points coincide, is another.
    epsilon : float
        In units of the mean of D(X, Y).
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    n, k = x.shape
    batch = min(batch, n // 2)
    centre, scale = x.mean(0), np.sqrt(x.var(0).sum()) + 1e-12
    points = torch.as_tensor((x - centre) / scale, dtype=torch.float32)
    log_base = torch.as_tensor(np.log(np.maximum(base / base.mean(), 1e-8)), dtype=torch.float32)
    inputs = points / (points.std(0) + 1e-9)
    hidden, output = torch.nn.Linear(k, 32), torch.nn.Linear(32, 1)
    with torch.no_grad():
        for parameter in hidden.parameters():
            parameter.uniform_(-(k**-0.5), k**-0.5, generator=generator)
        for parameter in output.parameters():
            parameter.zero_()
    network = torch.nn.Sequential(hidden, torch.nn.Tanh(), output)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    uniform = torch.full((batch,), 1 / batch)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        chosen = torch.from_numpy(rng.choice(n, batch * (2 if objective == "split" else 1), False))
        y = torch.as_tensor((sample(batch, rng) - centre) / scale, dtype=torch.float32)
        delta = network(inputs[chosen])[:, 0]
        parts = [part.softmax(0) for part in (log_base[chosen] + delta).split(batch)]
        loss = _loss(points[chosen].split(batch), parts, y, uniform, objective, epsilon)
        loss = loss + penalty * (delta - delta.mean()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return (log_base + network(inputs)[:, 0]).softmax(0).double().numpy() * n


def _loss(
    xs: tuple[Tensor, ...], masses: list[Tensor], y: Tensor, uniform: Tensor, objective: str, epsilon: float
) -> Tensor:
    D, a = squared_distances(xs[0], y), masses[0]
    unit = D.mean()
    if objective == "plain":
        return wbm_ext.sinkhorn(D / unit, a, uniform, epsilon=epsilon, tol=1e-3, max_iter=500)
    if objective == "debiased":
        costs, rows, columns = [D, squared_distances(xs[0], xs[0])], [a, a], [uniform, a]
    else:
        costs = [D, squared_distances(xs[0], xs[1]), squared_distances(xs[1], y)]
        rows, columns = [a, a, masses[1]], [uniform, masses[1], uniform]
    value = wbm_ext.solve(
        torch.stack(costs) / unit, torch.stack(rows), torch.stack(columns),
        epsilon=epsilon, reference="product", tol=1e-3, max_iter=500,
    ).regularized_cost  # fmt: skip
    return value[0] - value[1] / 2 if objective == "debiased" else (value[0] + value[2] - value[1]) / 2


def relaxed_weights(
    base: Array, x: Array, sample: Sampler, *, kappa: float, epsilon: float, size: int = 1000, seed: int = 0
) -> Array:
    """Row sums of one plan between all observed pairs and ``size`` random pairs of the whole space.

    P* = argmin <D, P> + ε KL(P | a bᵀ) + κ KL(P1 | a) over Pᵀ1 = b, with a ∝ base, b uniform. From κ = inf, the base
    weights, to κ = 0, each target pair matched to the observed pairs near it. ε and κ in units of the mean of D.
    """
    target = sample(size, np.random.default_rng(seed))
    scale = np.sqrt(x.var(0).sum()) + 1e-12
    points, y = (torch.as_tensor((part - x.mean(0)) / scale, dtype=torch.float32) for part in (x, target))
    D = squared_distances(points, y)
    a = torch.as_tensor(base / base.sum(), dtype=torch.float32)
    result = wbm_ext.solve(
        D / D.mean(), a, torch.full((size,), 1 / size), epsilon=epsilon, kappa=(kappa, float("inf")),
        reference="product", tol=1e-3, max_iter=500,
    )  # fmt: skip
    return result.plan.sum(-1).double().numpy() * len(base)
