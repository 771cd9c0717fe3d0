"""IPS-WBM: propensities trained to balance the treated and untreated pairs in transport distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wbm_ext import losses
from wbm_ext.errors import check_name
from wbm_ext.recommender.networks import SharedModel
from wbm_ext.recommender.parameters import check_integer, check_number
from wbm_ext.recommender.propensity import propensity_loss
from wbm_ext.recommender.sampling import Batch, PairSpace, StratifiedBatches, UniformBatches
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import Streams

_MASSES = {"calibrated": "self-normalized", "paper-literal": "softmax"}


@dataclass(kw_only=True, eq=False, repr=False)
class IPSWBM(WeightedRecommender):
    """L = lambda_p BCE(q, o) + mean over D of o e / sg(clip q) + lambda_b WBM(q).

    One model: matrix factorisation, and a propensity tower on the same embeddings (Algorithm 2 of "Debiased
    Recommendation via Wasserstein Causal Balancing" without its imputation). Who trains what:

    * the prediction error trains embeddings and biases, and gives nothing to q (stop-gradient);
    * the likelihood of o trains the tower and the embeddings;
    * WBM(q), the entropic transport cost between the observed pairs with masses ~ 1/q and the unobserved ones
    with
      masses ~ 1/(1 - q), trains the tower alone. Its cost is taken in phi = sg([U_u; V_i]), and its q is the
      tower's value at phi: otherwise the embeddings would move to look balanced, at no gain.

    A batch without observed, or without unobserved, pairs has WBM = 0 and is counted in
    ``one_group_batches_``.

    Parameters
    ----------
    mode : {"calibrated", "paper-literal"}
        "calibrated": q is a probability, trained by likelihood and WBM with self-normalised masses.
        "paper-literal": q is a free score that starts at .5, trained by WBM alone with masses softmax(1/q),
        as printed (``propensity_weight`` is not read).
    balance_weight : float
        lambda_b; 0 leaves transport out.
    propensity_weight : float
        lambda_p.
    against : {"untreated", "all"}
        What the observed pairs are moved towards: the reweighted unobserved ones (Def. 3.1), or the whole
        batch with uniform masses (what Theorem 2 needs); "all" needs ``sampling="uniform"``, since only then
        the batch looks like D.
    sampling : {"stratified", "uniform"}
        "stratified": ``batch_size`` observed pairs (each once an epoch) and ``untreated_ratio`` times as many
        unobserved ones, weighted back to D. "uniform": ``batch_size`` pairs of D, of which |O| / |D| are observed on
        average. On held-out biased pairs of Coat the two end within .005 of each other in log loss (sd .01 over
        seeds); stratified takes a quarter of the time, keeps both groups of WBM large whatever the density, and
        shares the order of observed batches with the other systems.
    untreated_ratio : float
        Unobserved pairs for each observed one in a stratified batch.
    epsilon : float or None
        Entropic regularisation in units of the cost; None: 0.05 times its mean.
    scale_cost : bool
        Divide the cost by its mean over the batch, so that ``balance_weight`` does not depend on the size of
        the embeddings.
    tol, max_iter
        Of the Sinkhorn solve: marginal error and iterations. The noise of mini-batches is far above 1e-3.

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender`.
    """

    mode: str = "calibrated"
    balance_weight: float = 1.0
    propensity_weight: float = 1.0
    against: str = "untreated"
    sampling: str = "stratified"
    untreated_ratio: float = 1.0
    epsilon: float | None = None
    scale_cost: bool = True
    tol: float = 1e-3
    max_iter: int = 1000

    name: ClassVar[str] = "ips-wbm"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("mode", self.mode, _MASSES)
        check_number("balance_weight", self.balance_weight, least=0)
        check_number("propensity_weight", self.propensity_weight, least=0)
        check_name("against", self.against, ["untreated", "all"])
        check_name("sampling", self.sampling, ["stratified", "uniform"])
        if self.against == "all" and self.sampling != "uniform":
            raise ValueError(
                "against='all' takes the batch for a sample of all pairs and needs sampling='uniform'; "
                f"got sampling={self.sampling!r}"
            )
        check_number("untreated_ratio", self.untreated_ratio, above=0)
        check_number("epsilon", self.epsilon, above=0, optional=True)
        check_number("tol", self.tol, above=0)
        check_integer("max_iter", self.max_iter)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        self.one_group_batches_ = 0

    def _network(self, space: PairSpace, generator: torch.Generator, **options: Any) -> nn.Module:
        rate = space.density if self.mode == "calibrated" else 0.5
        sizes = (space.n_users, space.n_items, self.embedding_dim)
        return SharedModel(*sizes, generator=generator, propensity_rate=rate, **options)

    def _batches(self, space: PairSpace, streams: Streams) -> StratifiedBatches | UniformBatches:
        generator = streams.torch("batches")
        if self.sampling == "uniform":
            steps = -(-space.size // self.batch_size)
            return UniformBatches(space, self.batch_size, steps=steps, generator=generator)
        return StratifiedBatches(
            space,
            self.batch_size,
            ratio=self.untreated_ratio,
            generator=generator,
            untreated_generator=streams.torch("untreated"),
        )

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.model_.propensity(self.model_.representation(users, items)))

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        model = self.model_
        representation = model.representation(batch.users, batch.items)
        logit = model.propensity(representation)
        error = binary_cross_entropy_with_logits(model(batch.users, batch.items), batch.labels, reduction="none")
        terms = {"prediction": self._weighted_error(batch, error, torch.sigmoid(logit))}
        if self.mode == "calibrated" and self.propensity_weight > 0:
            terms["propensity"] = self.propensity_weight * propensity_loss("nll", logit, batch)
        self.one_group_batches_ += int(batch.observed.all() or not batch.observed.any())
        if self.balance_weight > 0:
            terms["balance"] = self.balance_weight * self._wbm(batch, representation.detach())
        return terms

    def _wbm(self, batch: Batch, representation: torch.Tensor) -> torch.Tensor:
        return losses.wbm(
            torch.sigmoid(self.model_.propensity(representation)),
            batch.observed,
            representation,
            masses=_MASSES[self.mode],
            against=self.against,
            clip=self.floor_,
            epsilon=self.epsilon,
            scale_cost=self.scale_cost,
            tol=self.tol,
            max_iter=self.max_iter,
        )
