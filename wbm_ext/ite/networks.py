"""The networks: a representation ψ(x) and heads φ_0, φ_1 on it, which give both potential outcomes at once.

A model is called with covariates x (B, p) by its two parts: ``represent(x)``, (B, k), and ``heads(r)``, (2, B):
row 0 the outcome without treatment, row 1 with it. Initial values come from a ``torch.Generator``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wbm_ext.persistence import Network
from wbm_ext.training import initialise_linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


class StackedLinear(nn.Module):
    """K affine maps side by side: (B, in) or (K, B, in) -> (K, B, out), in one matrix product."""

    def __init__(self, count: int, n_in: int, n_out: int, *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features = n_in
        self.weight = nn.Parameter(torch.empty(count, n_in, n_out, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(count, 1, n_out, dtype=dtype))
        initialise_linear(cast("nn.Linear", self), generator)  # reads in_features and parameters() alone

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.expand(len(self.weight), *x.shape)
        return torch.baddbmm(self.bias, x, self.weight)


class Dense(nn.Module):
    """Fully connected layers, each followed by the activation: (B, in) -> (B, widths[-1]); the identity if none."""

    def __init__(
        self, n_in: int, widths: Sequence[int], activation: str, *, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        sizes = [n_in, *widths]
        self.layers = nn.ModuleList(nn.utils.skip_init(nn.Linear, *pair, dtype=dtype) for pair in pairwise(sizes))
        for layer in self.layers:
            initialise_linear(cast("nn.Linear", layer), generator)
        self.out_features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Heads(nn.Module):
    """Outcome heads on a representation r (B, k): both outcomes, (2, B).

    Parameters
    ----------
    shared : bool
        False: φ_0 and φ_1 have weights of their own. True: one φ on [r, t], asked with t = 0 and t = 1.
    """

    def __init__(
        self,
        n_in: int,
        widths: Sequence[int],
        activation: str,
        *,
        shared: bool = False,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.activation, self.shared = ACTIVATIONS[activation], shared
        sizes = [n_in + shared, *widths, 1]
        self.layers = nn.ModuleList(
            StackedLinear(1 if shared else 2, *pair, generator=generator, dtype=dtype) for pair in pairwise(sizes)
        )

    def forward(self, r: Tensor) -> Tensor:
        size = len(r)
        if self.shared:
            zeros, ones = r.new_zeros(size, 1), r.new_ones(size, 1)
            r = torch.cat([torch.cat([r, zeros], 1), torch.cat([r, ones], 1)])
        *hidden, last = self.layers
        for layer in hidden:
            r = self.activation(layer(r))
        return last(r).view(2, size)


class RepresentationModel(Network):
    """ψ: ``representation`` layers (none: the covariates themselves); φ: :class:`Heads`.

    TARNet (Shalit et al. 2017) with separate heads; BNN (Johansson et al. 2016) with a shared one; without a
    representation the T- and the S-learner.
    """

    def __init__(
        self,
        n_in: int,
        representation: Sequence[int],
        heads: Sequence[int],
        *,
        activation: str = "elu",
        shared: bool = False,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.represent = Dense(n_in, representation, activation, generator=generator, dtype=dtype)
        size = self.represent.out_features
        self.heads = Heads(size, heads, activation, shared=shared, generator=generator, dtype=dtype)
