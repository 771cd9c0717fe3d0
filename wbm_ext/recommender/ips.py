"""Inverse propensity scoring in two stages (Schnabel et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from wbm_ext.errors import check_name
from wbm_ext.recommender.networks import AdditivePropensity
from wbm_ext.recommender.parameters import check_integer, check_number
from wbm_ext.recommender.propensity import fit_propensity
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import Streams


@dataclass(kw_only=True, eq=False, repr=False)
class IPS(WeightedRecommender):
    """Stage 1: additive logistic propensity q over D. Stage 2: L = kappa mean over O of e / clip(q, floor,
    1).

    The factor kappa = |O| / |D| makes L the estimate of the mean error over D (Eq. 6 of "Debiased
    Recommendation via Wasserstein Causal Balancing"), of the size of the naive loss, so that weight decay
    means the same in both.

    Parameters
    ----------
    propensity_loss : {"nll", "mse"}
        Of stage 1; "mse" is what the published baselines use.
    propensity_weight_decay, propensity_batch_size
        Of stage 1; the batch size counts observed pairs.

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender`.

    Attributes
    ----------
    propensity_model_ : nn.Module
    propensity_history_ : History
    """

    propensity_loss: str = "nll"
    propensity_weight_decay: float = 1e-6
    propensity_batch_size: int = 512

    name: ClassVar[str] = "ips"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("propensity_loss", self.propensity_loss, ["nll", "mse"])
        check_number("propensity_weight_decay", self.propensity_weight_decay, least=0)
        check_integer("propensity_batch_size", self.propensity_batch_size)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        self.propensity_model_ = AdditivePropensity(
            space.n_users,
            space.n_items,
            self.embedding_dim,
            generator=streams.torch("propensity-init"),
            dtype=getattr(torch, self.dtype),
            base_rate=space.density,
        ).to(space.device)
        self.propensity_history_ = fit_propensity(
            self.propensity_model_,
            space,
            streams,
            loss=self.propensity_loss,
            batch_size=self.propensity_batch_size,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.propensity_weight_decay,
            patience=self.patience,
            progress=self.progress,
        )

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.propensity_model_(users, items))

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        error = binary_cross_entropy_with_logits(self.model_(batch.users, batch.items), batch.labels, reduction="none")
        over_d = batch._replace(weight=batch.weight * self.density_)
        with torch.no_grad():
            propensity = self._propensity(batch.users, batch.items)
        return {"prediction": self._weighted_error(over_d, error, propensity)}
