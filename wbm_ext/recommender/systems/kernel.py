"""Kernel balancing: weights that are even and leave functions of a reproducing kernel Hilbert space balanced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wbm_ext import losses
from wbm_ext.errors import check_name
from wbm_ext.recommender.doubly_robust import Imputing
from wbm_ext.recommender.entire_space import EntireSpace
from wbm_ext.recommender.multitask_network import MultiTaskModel
from wbm_ext.recommender.networks import MatrixFactorization
from wbm_ext.recommender.objectives import errors, observed_mean
from wbm_ext.recommender.parameters import check_integer, check_number
from wbm_ext.recommender.sampling import Batch, ObservedBatches, PairSpace
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import Streams

LI_2024 = "Li et al., Debiased collaborative filtering with kernel-based causal balancing, ICLR 2024"
_PAIRS = 512  # whose median distance is the width of the kernel


@dataclass(kw_only=True, eq=False, repr=False)
class KernelBalance(WeightedRecommender, EntireSpace):
    """Base of the systems whose weights 1/q are even but for what balances kernel functions.

        min mean over O of v log v + gamma_b Σ_s [ |mean over D of (o/q - 1) K(x, x_s)| - C ]_+,   v = kappa/q

    x are the embeddings [U_u; V_i] of a matrix factorisation trained on the observed ratings beforehand and then held,
    K a Gaussian kernel, x_s some pairs of the batch, the anchors. v has mean 1 where the weights 1/q stand for all of
    D. On each batch first the propensity learns from these two terms, then the rest from errors weighted by 1/q.

    Parameters
    ----------
    anchors : {"random", "adaptive"}
        Which pairs x_s are: any, or those with the largest coefficients |alpha_s| in the kernel ridge regression of the
        observed errors, e ~ Σ_s alpha_s K(x, x_s) weighted by 1/q, over all pairs of the batch: what the errors depend
        on is what has to be balanced.
    n_anchors : int
        J, their number.
    slack : float
        C, the imbalance that is let be.
    balance_weight : float
        gamma_b.
    bandwidth : float or None
        sigma of K = exp(-|x - x'|^2 / (2 sigma^2)). None: the median distance of pairs drawn from D.
    ridge : float
        Of the regression, as a share of the mean weighted square of the kernel functions.

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender` and
    :class:`~wbm_ext.recommender.entire_space.EntireSpace`.
    """

    anchors: str = "random"
    n_anchors: int = 3
    slack: float = 1e-5
    balance_weight: float = 1.0
    bandwidth: float | None = None
    ridge: float = 1e-3

    reference: ClassVar[str] = LI_2024
    tasks: ClassVar[tuple[str, ...]] = ("propensity",)
    phases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "propensity": ("entropy", "balance"),
        "prediction": ("prediction",),
    }

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("anchors", self.anchors, ["random", "adaptive"])
        check_integer("n_anchors", self.n_anchors)
        check_number("slack", self.slack, least=0)
        check_number("balance_weight", self.balance_weight, least=0)
        check_number("bandwidth", self.bandwidth, above=0, optional=True)
        check_number("ridge", self.ridge, above=0)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        sizes = (space.n_users, space.n_items, self.embedding_dim)
        options = self._network_options(streams.torch("features-init"))
        model = MatrixFactorization(*sizes, base_rate=self.base_rate_, **options).to(space.device)
        batches = ObservedBatches(space, self.batch_size, generator=streams.torch("features-batches"))
        self._train(
            model,
            lambda batch: self._on_whole_batch(
                batch,
                lambda part: {"logit": model(part.users, part.items)},
                lambda whole, out: {"prediction": (whole.weight * errors(whole, out["logit"])).sum()},
            ),
            batches,
            stage="features",
        )
        self._features = model.embeddings.requires_grad_(False)
        keys = torch.randint(space.size, (_PAIRS,), generator=streams.torch("features-pairs")).to(space.device)
        x = self._features(*space.pairs(keys))
        sigma = float(losses.median_bandwidth(x[::2], x[1::2])) if self.bandwidth is None else self.bandwidth
        self._kernel_scale = 2 * sigma**2 or 1.0

    def _network(self, space: PairSpace, generator: torch.Generator, *, base_rate: float) -> nn.Module:
        rates = {"propensity": space.density, "imputation": base_rate}
        return MultiTaskModel(
            space.n_users,
            space.n_items,
            self.embedding_dim,
            rates={task: rates[task] for task in self.tasks},
            base_rate=base_rate,
            shared=False,
            **self._network_options(generator),
        )

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        model, pairs = self.model_, batch[:2]
        features = self._features(*pairs)
        return {"logit": model(*pairs), "x": features, **{task: model.task(task, *pairs) for task in self.tasks}}

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.model_.task("propensity", users, items))

    def _kernel(self, x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        return torch.exp(-losses.squared_distances(x, anchors) / self._kernel_scale)

    def _anchors(self, batch: Batch, out: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
        """Return x_s, (J, 2k). Batches hold pairs in random order, unobserved ones last."""
        x, count = out["x"], min(self.n_anchors, len(out["x"]))
        if self.anchors == "random":
            return x[-count:]
        seen = batch.observed
        functions = self._kernel(x[seen], x)  # (observed, all)
        weighted = functions * weight[seen, None]
        gram = functions.mT @ weighted
        gram.diagonal().add_(self.ridge * gram.diagonal().mean())
        error = errors(batch, out["logit"].detach())[seen]
        coefficients = torch.linalg.solve(gram, weighted.mT @ error)
        return x[coefficients.abs().topk(count).indices]

    def _weight_terms(self, batch: Batch, out: dict[str, torch.Tensor], q: torch.Tensor) -> dict[str, torch.Tensor]:
        inverse = q.clamp(self.floor_, 1.0).reciprocal()
        weight = torch.where(batch.observed, batch.weight * inverse, 0.0)  # of D, as the observed pairs tell it
        with torch.no_grad():
            functions = self._kernel(out["x"], self._anchors(batch, out, weight))
        imbalance = (weight - batch.weight) @ functions
        return {
            "entropy": observed_mean(batch, inverse * torch.log(self.density_ * inverse)),
            "balance": self.balance_weight * (imbalance.abs() - self.slack).clamp_min(0.0).sum(),
        }

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        q = torch.sigmoid(out["propensity"])
        prediction = self._weighted(batch, errors(batch, out["logit"]), q)
        return {**self._weight_terms(batch, out, q), "prediction": prediction}

    def _conclude(self) -> None:
        super()._conclude()
        del self._features


@dataclass(kw_only=True, eq=False, repr=False)
class KBIPS(KernelBalance):
    """Inverse propensity scoring by kernel balancing: mean over D of o e / q, q balanced at random anchors.

    With ``anchors="adaptive"`` it is AKBIPS. Parameters: see :class:`KernelBalance`.
    """

    name: ClassVar[str] = "kbips"


@dataclass(kw_only=True, eq=False, repr=False)
class KBDR(Imputing, KernelBalance):
    """Doubly robust learning by kernel balancing: the terms of ``dr-jl``, q balanced at random anchors.

    Parameters: see :class:`KernelBalance` and :class:`~wbm_ext.recommender.doubly_robust.Imputing`.
    """

    name: ClassVar[str] = "kbdr"
    tasks: ClassVar[tuple[str, ...]] = ("propensity", "imputation")
    phases: ClassVar[Mapping[str, tuple[str, ...]]] = {**KernelBalance.phases, "imputation": ("imputation",)}

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        q = torch.sigmoid(out["propensity"])
        return {
            **self._weight_terms(batch, out, q),
            "prediction": self._prediction_term(batch, out, q),
            "imputation": self._imputation_term(batch, out, q),
        }


@dataclass(kw_only=True, eq=False, repr=False)
class AKBDR(KBDR):
    """Doubly robust learning by adaptive kernel balancing: as ``kbdr``, anchors where the errors lie.

    Parameters: see :class:`KBDR`.
    """

    anchors: str = "adaptive"

    name: ClassVar[str] = "akbdr"
