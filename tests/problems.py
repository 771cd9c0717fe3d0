"""Random problems of every kind, small enough for dense oracles."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

INF = math.inf
KINDS = {
    "balanced": (INF, INF),
    "hard rows": (INF, 0.7),
    "hard columns": (1.5, INF),
    "unbalanced": (2.0, 0.5),
}
CASES = list(itertools.product(KINDS, ("entropy", "product")))
CASE_IDS = [f"{kind}-{reference}" for kind, reference in CASES]


@dataclass
class Problem:
    D: Tensor
    a: Tensor
    b: Tensor
    kappa: tuple[float, float]

    @property
    def both_hard(self) -> bool:
        return all(map(math.isinf, self.kappa))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_problem(
    kind: str,
    n: int = 9,
    m: int = 7,
    batch: tuple[int, ...] = (),
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Squared distances of two shifted clouds; uneven masses, of equal totals where both marginals are hard."""
    rng = generator(seed)
    x = torch.randn(*batch, n, 3, generator=rng, dtype=torch.float64)
    y = torch.randn(*batch, m, 3, generator=rng, dtype=torch.float64) + 0.5
    a = torch.rand(*batch, n, generator=rng, dtype=torch.float64) + 0.2
    b = torch.rand(*batch, m, generator=rng, dtype=torch.float64) + 0.2
    kappa = KINDS[kind]
    if all(map(math.isinf, kappa)):
        b = b * a.sum(-1, keepdim=True) / b.sum(-1, keepdim=True)
    D = torch.cdist(x, y).square()
    return Problem(D.to(dtype), a.to(dtype), b.to(dtype), kappa)


def plain_iteration(
    D: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: float,
    kappa: tuple[float, float],
    reference: str,
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """(f, g) of one float64 problem after so many plain log-domain iterations, written as the formula stands."""
    ratio = [1.0 if math.isinf(k) else k / (epsilon + k) for k in kappa]
    strength = [epsilon * r if reference == "entropy" else epsilon for r in ratio]
    g = torch.zeros_like(b)
    for _ in range(iterations):
        f = strength[0] * a.log() - ratio[0] * epsilon * torch.logsumexp((g[None, :] - D) / epsilon, 1)
        g = strength[1] * b.log() - ratio[1] * epsilon * torch.logsumexp((f[:, None] - D) / epsilon, 0)
    return f, g


def plan_of(D: Tensor, f: Tensor, g: Tensor, epsilon: float) -> Tensor:
    return torch.exp((f[:, None] + g[None, :] - D) / epsilon)
