"""The base networks of the recommenders: matrix factorisation, towers on embeddings, additive propensity.

All of them draw their initial values from a ``torch.Generator``, never from the global one. Embeddings start
at N(0, 0.1^2): with torch's own N(0, 1) the logits <U_u, V_i> have standard deviation sqrt(k), so that 1/q
among 20 treated pairs reaches 48 for k = 4 and 1.6e3 for k = 16 before anything has been learnt, and inverse
propensities then rest on one pair. At 0.1 all logits start near the bias.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from wbm_ext.persistence import Network
from wbm_ext.training import initialise_linear, initialise_normal

EMBEDDING_SCALE = 0.1


def _linear(n_in: int, n_out: int, *, bias: bool, generator: torch.Generator, dtype: torch.dtype) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias, dtype=dtype)
    initialise_linear(layer, generator)
    return layer


def _log_odds(rate: float) -> float:
    rate = min(max(rate, 1e-6), 1.0 - 1e-6)
    return math.log(rate / (1.0 - rate))


class Embeddings(nn.Module):
    """U (n_users, k) of users, V (n_items, k) of items; ``forward`` gives [U_u; V_i], (B, 2k)."""

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        scale: float = EMBEDDING_SCALE,
    ) -> None:
        super().__init__()
        self.user = nn.Parameter(torch.empty(n_users, dim, dtype=dtype))
        self.item = nn.Parameter(torch.empty(n_items, dim, dtype=dtype))
        initialise_normal(self.user, scale, generator)
        initialise_normal(self.item, scale, generator)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.user[users], self.item[items]], dim=1)


class MatrixFactorization(Network):
    """Logit of a positive rating: <U_u, V_i> + b_u + c_i + b (Koren, Bell, Volinsky 2009).

    Parameters
    ----------
    n_users, n_items, dim : int
        Sizes; ``dim`` is k.
    biases : bool
        False gives <U_u, V_i> alone, the form of the published baselines.
    base_rate : float
        P(positive) at the start: b = log(base_rate / (1 - base_rate)); b_u = c_i = 0.
    scale : float
        Standard deviation of the initial embeddings.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        biases: bool = True,
        base_rate: float = 0.5,
        scale: float = EMBEDDING_SCALE,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(n_users, n_items, dim, generator=generator, dtype=dtype, scale=scale)
        self.biases = biases
        if biases:
            self.user_bias = nn.Parameter(torch.zeros(n_users, dtype=dtype))
            self.item_bias = nn.Parameter(torch.zeros(n_items, dtype=dtype))
            self.bias = nn.Parameter(torch.tensor(_log_odds(base_rate), dtype=dtype))

    def representation(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return [U_u; V_i], shape (B, 2k)."""
        return self.embeddings(users, items)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the logits of a positive rating, shape (B,)."""
        logit = (self.embeddings.user[users] * self.embeddings.item[items]).sum(dim=1)
        if self.biases:
            logit = logit + self.user_bias[users] + self.item_bias[items] + self.bias
        return logit


class Tower(nn.Module):
    """A task's head on x = [U_u; V_i]: Linear(2k -> k, no bias) - ReLU - Linear(k -> 1); a logit, shape (B,).

    The last layer starts at weight 0 and bias log(rate / (1 - rate)), so that every pair starts at ``rate``.
    """

    def __init__(self, dim: int, *, generator: torch.Generator, dtype: torch.dtype, base_rate: float) -> None:
        super().__init__()
        self.hidden = _linear(2 * dim, dim, bias=False, generator=generator, dtype=dtype)
        self.output = _linear(dim, 1, bias=True, generator=generator, dtype=dtype)
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.bias.fill_(_log_odds(base_rate))

    def forward(self, representation: torch.Tensor) -> torch.Tensor:
        return self.output(torch.relu(self.hidden(representation))).squeeze(1)


class PopularityPropensity(Network):
    """q_ui = min(1, c n_i^eta), a power law in the item's number of ratings; nothing is learnt.

    c makes the mean of q over all pairs the share that is observed, as long as no q reaches 1.
    """

    item_logit: torch.Tensor

    def __init__(self, n_items: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("item_logit", torch.zeros(n_items, dtype=dtype))

    def count(self, items: torch.Tensor, density: float, power: float) -> None:
        """Take the items of the observed pairs, (n,), and the share of observed pairs."""
        popularity = torch.bincount(items, minlength=len(self.item_logit)).double().clamp_min(0.5).pow(power)
        q = density * popularity / popularity.mean()
        self.item_logit.copy_(torch.logit(q, eps=1e-6))

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the logits of being observed, shape (B,)."""
        return self.item_logit[items]


class AdditivePropensity(Network):
    """Logistic propensity, additive in user and item: logit q = w.[U_u; V_i] + b (the field's "NCF")."""

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        base_rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(n_users, n_items, dim, generator=generator, dtype=dtype)
        self.output = _linear(2 * dim, 1, bias=True, generator=generator, dtype=dtype)
        with torch.no_grad():
            self.output.bias.fill_(_log_odds(base_rate))

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the logits of being observed, shape (B,)."""
        return self.output(self.embeddings(users, items)).squeeze(1)
