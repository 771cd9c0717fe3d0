"""Disentangled counterfactual regression: weights for confounders, balance for what concerns the outcome only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wbm_ext.errors import BalanceWarning, warn_once
from wbm_ext.ite.balancing import CFRMMD
from wbm_ext.ite.batches import Batch
from wbm_ext.ite.defaults import default
from wbm_ext.ite.disentangled_network import DisentangledModel
from wbm_ext.ite.neural import NeuralEstimator
from wbm_ext.ite.transport import CFRWass
from wbm_ext.parameters import check_integer, check_number

LEAST_ESS = 0.1  # share of the units below which weights are warned of


@dataclass(kw_only=True, eq=False, repr=False)
class _Disentangled(NeuralEstimator):
    """What both systems share: three factors, weighted factual errors, a model of the treatment.

        L = mean ω (y - φ_t(Δ, Υ))² + α disc(Υ) + β BCE(t | Γ, Δ),
        ω = 1 + Pr(t)/Pr(1-t) · (1 - π(t | Δ))/π(t | Δ),  a constant

    ``history_`` records ``weight_ess``, the effective sample size of ω over an epoch as a share of its units.

    Hassanpour and Greiner, "Learning Disentangled Representations for Counterfactual Regression", ICLR 2020.
    """

    representation: Sequence[int] = default("representation")[:1]
    factor: int = default("factor")
    treatment_weight: float = default("treatment_weight")
    floor: float = 0.01

    learnt: ClassVar[dict[str, Any]] = {"treated_share_": float}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer("factor", self.factor)
        check_number("treatment_weight", self.treatment_weight, least=0)
        check_number("floor", self.floor, above=0, below=0.5)

    def _network(self, n_in: int, **options: Any) -> nn.Module:
        return DisentangledModel(
            n_in, self.representation, self.factor, self.heads, activation=self.activation, **options
        )

    def _terms(self, batch: Batch, r: Tensor, outcomes: Tensor) -> dict[str, Tensor]:
        model, n = self.model_, batch.treated
        treated = torch.zeros_like(batch.y)
        treated[:n] = 1.0
        weighting = model.weighting_logit(r)
        weights = self._weights(weighting, n)
        self._weight_sums.append(torch.stack([weights.sum(), weights.square().sum(), weights.new_tensor(len(weights))]))
        error = (batch.factual(outcomes) - batch.y).square() * weights
        if self.factual_loss == "batch":
            factual = error.mean()
        else:
            factual = torch.stack([part.mean() for part in (error[:n], error[n:]) if len(part)]).sum()
        return {
            "factual": factual,
            "treatment": self.treatment_weight * binary_cross_entropy_with_logits(model.treatment_logit(r), treated),
            "weighting": binary_cross_entropy_with_logits(weighting, treated),
            **self._penalties(batch, r, outcomes),
        }

    def _balanced(self, r: Tensor) -> Tensor:
        """Return Υ in units of its own spread, the root of the mean variance of its coordinates over the batch.

        As it is, the discrepancy is smallest where Υ vanishes, and so it would.
        """
        adjustment = self.model_.adjustment(r)
        spread = adjustment.var(0, correction=0).mean().sqrt()
        return adjustment / spread.clamp_min(torch.finfo(adjustment.dtype).eps)

    def _weights(self, logit: Tensor, n: int) -> Tensor:
        """Return ω of a batch whose first ``n`` units are treated, (B,); π is kept in [floor, 1 - floor]."""
        p = logit.detach().sigmoid().clamp(self.floor, 1 - self.floor)
        odds = self.treated_share_ / (1 - self.treated_share_)
        return 1 + torch.cat([odds * (1 - p[:n]) / p[:n], p[n:] / (1 - p[n:]) / odds])

    def _start_epoch(self, epoch: int) -> None:
        super()._start_epoch(epoch)
        self._weight_sums: list[Tensor] = []

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        super()._diagnose(epoch, record)
        if self._weight_sums:
            total, squares, count = torch.stack(self._weight_sums).double().sum(0).tolist()
            record["weight_ess"] = total**2 / (squares * count)

    def _conclude(self) -> None:
        super()._conclude()
        share = self._chosen_record().get("weight_ess", 1.0)
        if share < LEAST_ESS:
            message = (
                f"{self.name}: the weights of the factual error have an effective sample size of {share:.1%} of the "
                f"units; raise floor (now {self.floor:g}) to bound them"
            )
            warn_once(BalanceWarning(message))

    def _train(self, x: Any, y: Any, treated: Any, *rest: Any) -> None:
        self.treated_share_ = float(treated.mean())
        super()._train(x, y, treated, *rest)


@dataclass(kw_only=True, eq=False, repr=False)
class DRCFR(_Disentangled, CFRMMD):
    """Three factors; the adjustment factor Υ balanced by MMD.

    Built from the publication (no code of its authors was found); π(t | Δ), by which units are weighted, is a logistic
    layer trained beside the rest that gives no gradient to Δ.

    Parameters
    ----------
    representation : sequence of int
        Layers below the factors.
    factor : int
        Width of each factor.
    treatment_weight : float
        β.
    floor : float
        π(t | Δ) is kept in [floor, 1 - floor].

    Other parameters: :class:`~wbm_ext.ite.balancing.CFRMMD`.
    """

    name: ClassVar[str] = "drcfr"


@dataclass(kw_only=True, eq=False, repr=False)
class MIMDRCFR(_Disentangled, CFRWass):
    """Three factors; Υ balanced by transport; a penalty that keeps the factors to covariates of their own.

        w_F = relevance of each covariate to factor F,
        penalty = Σ w_Γ w_Δ + w_Γ w_Υ + w_Δ w_Υ + Σ_F (Σ w_F - 1)²

    Cheng et al. 2022 ask for little mutual information between the factors; no code of theirs was found, and this is
    the penalty of DeR-CFR (Wu et al. 2022) in its place.

    Parameters
    ----------
    orthogonality_weight : float
        Of the penalty.

    Other parameters: as :class:`DRCFR`, and :class:`~wbm_ext.ite.transport.CFRWass`.
    """

    orthogonality_weight: float = default("orthogonality_weight")

    name: ClassVar[str] = "mim-drcfr"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("orthogonality_weight", self.orthogonality_weight, least=0)

    def _penalties(self, batch: Batch, r: Tensor, outcomes: Tensor) -> dict[str, Tensor]:
        w = self.model_.relevance()
        # Σ_{F<G} w_F w_G = ((Σ_F w_F)² - Σ_F w_F²) / 2
        overlap = (w.sum(0).square() - w.square().sum(0)).sum() / 2
        penalty = overlap + (w.sum(1) - 1).square().sum()
        return {"orthogonality": self.orthogonality_weight * penalty, **super()._penalties(batch, r, outcomes)}
