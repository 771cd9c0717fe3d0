"""IPS-WBM and DR-WBM: propensities trained to balance observed and unobserved pairs in transport distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wbm_ext import losses
from wbm_ext.errors import check_name
from wbm_ext.recommender.entire_space import MultiTask
from wbm_ext.recommender.parameters import check_flag, check_integer, check_number
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.recommender.systems.multitask import MultiDR, MultiIPS
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import Streams

_MASSES = {"calibrated": "self-normalized", "paper-literal": "softmax"}
WANG_2025 = "Wang et al., Debiased recommendation via Wasserstein causal balancing, 2025"


@dataclass(kw_only=True, eq=False, repr=False)
class WassersteinBalance(WeightedRecommender, MultiTask):
    """Adds lambda_b WBM(q) to the terms of a weighted multi-task system.

    WBM(q) is the entropic transport cost between the observed pairs with masses ~ 1/q and the unobserved ones with
    masses ~ 1/(1 - q). Its cost is taken in phi = sg([U_u; V_i]), and its q is the propensity tower's value at phi, so
    that it trains the tower alone: otherwise the embeddings would move to look balanced, at no gain. A batch without
    observed, or without unobserved, pairs has WBM = 0 and is counted in ``one_group_batches_``.

    Parameters
    ----------
    mode : {"calibrated", "paper-literal"}
        "calibrated": q is a probability, trained by likelihood and WBM with self-normalised masses.
        "paper-literal": q is a free score that starts at .5, trained by WBM alone with masses softmax(1/q),
        as printed (``propensity_weight`` is not read).
    balance_weight : float
        lambda_b; 0 leaves transport out.
    against : {"untreated", "all"}
        What the observed pairs are moved towards: the reweighted unobserved ones (Def. 3.1), or the whole
        batch with uniform masses (what Theorem 2 needs); "all" needs ``sampling="uniform"``, since only then
        the batch looks like D.
    epsilon : float or None
        Entropic regularisation in units of the cost; None: 0.05 times its mean.
    scale_cost : bool
        Divide the cost by its mean over the batch, so that ``balance_weight`` does not depend on the size of
        the embeddings.
    detach_embeddings : bool
        True: the gradient of WBM in q trains the propensity tower alone. False: the embeddings it reads too.
    detach_cost : bool
        True: the cost is a constant. False: the gradient of WBM in the cost runs into phi, i.e. into the embeddings.
    tol, max_iter
        Of the Sinkhorn solve: marginal error and iterations. The noise of mini-batches is far above 1e-3.

    Other parameters: see :class:`~wbm_ext.recommender.systems.multitask.MultiIPS`.
    """

    mode: str = "calibrated"
    balance_weight: float = 1.0
    against: str = "untreated"
    epsilon: float | None = None
    scale_cost: bool = True
    detach_embeddings: bool = True
    detach_cost: bool = True
    tol: float = 1e-3
    max_iter: int = 1000

    reference: ClassVar[str] = WANG_2025
    counters: ClassVar[tuple[str, ...]] = ("one_group_batches_",)
    learnt: ClassVar[dict[str, Any]] = {"one_group_batches_": int}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_name("mode", self.mode, _MASSES)
        check_number("balance_weight", self.balance_weight, least=0)
        check_name("against", self.against, ["untreated", "all"])
        if self.against == "all" and self.sampling != "uniform":
            raise ValueError(
                "against='all' takes the batch for a sample of all pairs and needs sampling='uniform'; "
                f"got sampling={self.sampling!r}"
            )
        check_number("epsilon", self.epsilon, above=0, optional=True)
        check_flag("scale_cost", self.scale_cost)
        check_flag("detach_embeddings", self.detach_embeddings)
        check_flag("detach_cost", self.detach_cost)
        check_number("tol", self.tol, above=0)
        check_integer("max_iter", self.max_iter)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        self.one_group_batches_ = 0

    def _rates(self, space: PairSpace, base_rate: float) -> dict[str, float]:
        rates = super()._rates(space, base_rate)
        return {**rates, "propensity": 0.5} if self.mode == "paper-literal" else rates

    def _propensity_term(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {} if self.mode == "paper-literal" else super()._propensity_term(batch, out)

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        out = super()._outputs(batch)
        if self.balance_weight > 0:
            representation = self.model_.representation(batch.users, batch.items)
            out["phi"] = representation.detach() if self.detach_cost else representation
            out["q at phi"] = self.model_.task("propensity", batch.users, batch.items, detach=self.detach_embeddings)
        return out

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        terms = super()._losses(batch, out)
        self.one_group_batches_ += int(batch.observed.all() or not batch.observed.any())
        if self.balance_weight > 0:
            terms["balance"] = self.balance_weight * losses.wbm(
                torch.sigmoid(out["q at phi"]),
                batch.observed,
                out["phi"],
                masses=_MASSES[self.mode],
                against=self.against,
                clip=self.floor_,
                epsilon=self.epsilon,
                scale_cost=self.scale_cost,
                detach_representation=self.detach_cost,
                tol=self.tol,
                max_iter=self.max_iter,
                min_ess=0,  # looked at once an epoch, on more pairs
            )
        return terms


@dataclass(kw_only=True, eq=False, repr=False)
class IPSWBM(WassersteinBalance, MultiIPS):
    """Inverse propensity scoring balanced by transport: L = lambda_p BCE(q, o) + mean o e / sg(q) + lambda_b WBM(q).

    Means over D; ``multi-ips`` and a term more (Algorithm 2 of the paper without its imputation). Parameters: see
    :class:`WassersteinBalance`.
    """

    name: ClassVar[str] = "ips-wbm"


@dataclass(kw_only=True, eq=False, repr=False)
class DRWBM(WassersteinBalance, MultiDR):
    """Doubly robust learning balanced by transport: the terms of ``multi-dr`` and lambda_b WBM(q).

    Algorithm 2 of the paper, where its residual is e - e^ and its imputed error BCE(r^, r~) with r~ the output of the
    imputation tower (``imputation="direct"``: the tower gives e^ itself, as printed). Parameters: see
    :class:`WassersteinBalance` and :class:`~wbm_ext.recommender.doubly_robust.Imputing`.
    """

    name: ClassVar[str] = "dr-wbm"
