"""What systems with a propensity model fitted beforehand share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from wbm_ext.errors import check_name
from wbm_ext.recommender.networks import AdditivePropensity, MatrixFactorization, PopularityPropensity
from wbm_ext.recommender.parameters import check_integer, check_number
from wbm_ext.recommender.propensity import fit_propensity
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import History, Streams

PROPENSITY_MODELS = ("additive", "mf", "popularity")


@dataclass(kw_only=True, eq=False, repr=False)
class TwoStage(WeightedRecommender):
    """Base of the systems whose q is fitted over D and then held.

    Parameters
    ----------
    propensity_model : {"additive", "mf", "popularity"}
        "additive": logistic in user and item, the field's choice. "mf": a matrix factorisation with biases (WBM paper,
        5.1.3). "popularity": q_ui ~ n_i^eta of the item's number of ratings (Saito et al., WSDM 2020), not fitted.
    popularity_power : float
        eta.
    propensity_loss : {"nll", "mse"}
        Of stage 1; "mse" is what the published baselines use.
    propensity_learning_rate : float or None
        Of stage 1; None: ``learning_rate``.
    propensity_weight_decay, propensity_batch_size
        Of stage 1; the batch size counts observed pairs.

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender`.

    Attributes
    ----------
    propensity_model_ : nn.Module
    propensity_history_ : History
    """

    propensity_model: str = "additive"
    popularity_power: float = 0.5
    propensity_loss: str = "nll"
    propensity_learning_rate: float | None = None
    propensity_weight_decay: float = 1e-6
    propensity_batch_size: int = 512

    learnt: ClassVar[dict[str, Any]] = {"propensity_model_": nn.Module, "propensity_history_": History}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("propensity_model", self.propensity_model, PROPENSITY_MODELS)
        check_number("popularity_power", self.popularity_power, least=0)
        check_name("propensity_loss", self.propensity_loss, ["nll", "mse"])
        check_number("propensity_learning_rate", self.propensity_learning_rate, above=0, optional=True)
        check_number("propensity_weight_decay", self.propensity_weight_decay, least=0)
        check_integer("propensity_batch_size", self.propensity_batch_size)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        sizes, dtype = (space.n_users, space.n_items, self.embedding_dim), getattr(torch, self.dtype)
        if self.propensity_model == "popularity":
            self.propensity_model_ = PopularityPropensity(space.n_items, dtype=dtype).to(space.device)
            items = space.pairs(space.keys[space.train_positions])[1]
            self.propensity_model_.count(items, space.density, self.popularity_power)
            self.propensity_history_ = History()
            return
        kind = MatrixFactorization if self.propensity_model == "mf" else AdditivePropensity
        self.propensity_model_ = kind(
            *sizes, generator=streams.torch("propensity-init"), dtype=dtype, base_rate=space.density
        ).to(space.device)
        rate = self.propensity_learning_rate
        self.propensity_history_ = fit_propensity(
            self.propensity_model_,
            space,
            streams,
            loss=self.propensity_loss,
            batch_size=self.propensity_batch_size,
            epochs=self.epochs,
            learning_rate=self.learning_rate if rate is None else rate,
            weight_decay=self.propensity_weight_decay,
            patience=self.patience,
            progress=self.progress,
            run=self._run,
        )

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.propensity_model_(users, items))

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            propensity = self._propensity(batch.users, batch.items)
        return {**super()._outputs(batch), "q": propensity}
