"""What systems with means over all pairs share: batches of observed and unobserved pairs, and networks with tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wbm_ext.errors import check_name
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.multitask_network import MultiTaskModel
from wbm_ext.recommender.objectives import propensity_loss
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch, PairSpace, StratifiedBatches, UniformBatches
from wbm_ext.training import Streams


@dataclass(kw_only=True, eq=False, repr=False)
class EntireSpace(Recommender):
    """Base of the systems whose batches hold unobserved pairs too.

    Parameters
    ----------
    sampling : {"stratified", "uniform"}
        "stratified": ``batch_size`` observed pairs (each once an epoch) and ``untreated_ratio`` times as many
        unobserved ones, weighted back to D. "uniform": ``batch_size`` pairs of D, of which |O| / |D| are observed on
        average. On held-out biased pairs of Coat the two end within .005 of each other in log loss (sd .01 over
        seeds); stratified takes a quarter of the time, keeps both groups large whatever the density, and
        shares the order of observed batches with the other systems.
    untreated_ratio : float
        Unobserved pairs for each observed one in a stratified batch.
    """

    sampling: str = "stratified"
    untreated_ratio: float = 1.0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("sampling", self.sampling, ["stratified", "uniform"])
        check_number("untreated_ratio", self.untreated_ratio, above=0)

    def _batches(self, space: PairSpace, streams: Streams, prefix: str = "") -> StratifiedBatches | UniformBatches:
        generator = streams.torch(f"{prefix}batches")
        if self.sampling == "uniform":
            steps = -(-space.size // self.batch_size)
            return UniformBatches(space, self.batch_size, steps=steps, generator=generator)
        return StratifiedBatches(
            space,
            self.batch_size,
            ratio=self.untreated_ratio,
            generator=generator,
            untreated_generator=streams.torch(f"{prefix}untreated"),
        )


@dataclass(kw_only=True, eq=False, repr=False)
class MultiTask(EntireSpace):
    """Base of the systems that learn the prediction and further tasks together.

    Parameters
    ----------
    head : {"mf", "tower"}
        Prediction by <U_u, V_i> and biases, or by a small network on [U_u; V_i].
    embeddings : {"shared", "separate"}
        Whether the further tasks are towers on the embeddings of the prediction, or have embeddings of their own.
    propensity_model : {"tower", "mf"}
        "tower": a tower, or logistic in user and item where embeddings are separate. "mf": a matrix factorisation with
        embeddings and biases of its own.
    propensity_weight : float
        Of the likelihood of o.
    propensity_weight_decay : float or None
        Of the parts that only the propensity uses. None: ``weight_decay``.

    Other parameters: see :class:`EntireSpace`.
    """

    head: str = "mf"
    embeddings: str = "shared"
    propensity_model: str = "tower"
    propensity_weight: float = 1.0
    propensity_weight_decay: float | None = None

    tasks: ClassVar[tuple[str, ...]] = ("propensity",)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("head", self.head, ["mf", "tower"])
        check_name("embeddings", self.embeddings, ["shared", "separate"])
        check_name("propensity_model", self.propensity_model, ["tower", "mf"])
        check_number("propensity_weight", self.propensity_weight, least=0)
        check_number("propensity_weight_decay", self.propensity_weight_decay, least=0, optional=True)

    def _rates(self, space: PairSpace, base_rate: float) -> dict[str, float]:
        """Return the probability that each further task gives at the start."""
        rates = {"propensity": space.density, "imputation": base_rate}
        return {task: rates[task] for task in self.tasks}

    def _network(self, space: PairSpace, generator: torch.Generator, *, base_rate: float) -> nn.Module:
        return MultiTaskModel(
            space.n_users,
            space.n_items,
            self.embedding_dim,
            rates=self._rates(space, base_rate),
            base_rate=base_rate,
            head=self.head,
            shared=self.embeddings == "shared",
            propensity=self.propensity_model,
            **self._network_options(generator),
        )

    def _weight_decays(self) -> dict[str, float]:
        decay = self.propensity_weight_decay
        return {**super()._weight_decays(), **({} if decay is None else {"propensity": decay})}

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        model, pairs = self.model_, batch[:2]
        return {"logit": model(*pairs), **{task: model.task(task, *pairs) for task in self.tasks}}

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.model_.task("propensity", users, items))

    def _propensity_term(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weighted likelihood of o, or nothing if its weight is 0."""
        if self.propensity_weight == 0:
            return {}
        return {"propensity": self.propensity_weight * propensity_loss("nll", out["propensity"], batch)}
