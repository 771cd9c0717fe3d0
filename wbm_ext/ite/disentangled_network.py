"""A representation of three factors: what decides treatment only, both, outcome only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wbm_ext.ite.networks import Dense, Heads, StackedLinear
from wbm_ext.persistence import Network


class DisentangledModel(Network):
    """Γ (instruments), Δ (confounders), Υ (adjustment): three factors on common layers.

    ``represent(x)`` is [Γ, Δ, Υ], (B, 3k). Outcomes are read from [Δ, Υ], P(treated) from [Γ, Δ] by a logistic
    layer, and P(treated) for the weights from Δ by another one.

    Parameters
    ----------
    common : sequence of int
        Widths of the layers below the factors.
    factor : int
        k, the width of each factor's layer.
    """

    def __init__(
        self,
        n_in: int,
        common: Sequence[int],
        factor: int,
        heads: Sequence[int],
        *,
        activation: str = "elu",
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.factor = factor
        self.common = Dense(n_in, common, activation, **options)
        # The three factors' layers as one.
        self.factors = Dense(self.common.out_features, [3 * factor], activation, **options)
        self.outcome = Heads(2 * factor, heads, activation, **options)
        self.treatment = StackedLinear(1, 2 * factor, 1, **options)
        self.weighting = StackedLinear(1, factor, 1, **options)

    def represent(self, x: Tensor) -> Tensor:
        return self.factors(self.common(x))

    def heads(self, r: Tensor) -> Tensor:
        return self.outcome(r[:, self.factor :])

    def adjustment(self, r: Tensor) -> Tensor:
        """Return Υ, (B, k)."""
        return r[:, 2 * self.factor :]

    def treatment_logit(self, r: Tensor) -> Tensor:
        """Return the logit of P(treated | Γ, Δ), (B,)."""
        return self.treatment(r[:, : 2 * self.factor]).flatten()

    def weighting_logit(self, r: Tensor) -> Tensor:
        """Return the logit of P(treated | Δ), (B,); no gradient goes to Δ."""
        return self.weighting(r[:, self.factor : 2 * self.factor].detach()).flatten()

    def relevance(self) -> Tensor:
        """Return how much each covariate enters each factor, (3, p).

        The mean over a factor's outputs of |W_1 W_2 ...|, the product of the weights between (Wu et al. 2022).
        """
        first, *others = (layer.weight for layer in (*self.common.layers, *self.factors.layers))
        product = first
        for weight in others:
            product = weight @ product
        return product.abs().view(3, self.factor, -1).mean(1)
