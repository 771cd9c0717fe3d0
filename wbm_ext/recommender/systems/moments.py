"""IPS-V2 and DR-V2: propensities trained to balance a moment of observed and unobserved pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wbm_ext import losses
from wbm_ext.errors import check_name
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch
from wbm_ext.recommender.systems.multitask import ESCM2DR, ESCM2IPS


@dataclass(kw_only=True, eq=False, repr=False)
class MomentBalance(ESCM2IPS):
    """Adds gamma_b |mean over D of (o / q - (1 - o) / (1 - q)) phi|^2 to the terms of ESCM2.

    The term trains q; phi is held. What ``ips-wbm`` asks of the entire distribution of phi is asked here of its mean.

    Parameters
    ----------
    balance_weight : float
        gamma_b; 0 leaves the term out and gives ``escm2-ips`` or ``escm2-dr``.
    balanced : {"prediction", "representation"}
        phi: the prediction r^, or [U_u; V_i].

    Other parameters: see :class:`~wbm_ext.recommender.systems.multitask.ESCM2IPS`.
    """

    balance_weight: float = 0.01
    balanced: str = "prediction"

    reference: ClassVar[str] = (
        "Li et al., Propensity matters: measuring and enhancing balancing for recommendation, ICML 2023"
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("balance_weight", self.balance_weight, least=0)
        check_name("balanced", self.balanced, ["prediction", "representation"])

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        out = super()._outputs(batch)
        if self.balance_weight > 0 and self.balanced == "representation":
            out["phi"] = self.model_.representation(batch.users, batch.items)
        return out

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        terms = super()._losses(batch, out)
        if self.balance_weight > 0:
            phi = out["phi"] if self.balanced == "representation" else torch.sigmoid(out["logit"]).unsqueeze(1)
            # the mean over the batch of B weight phi is the mean over D of phi
            weighted = len(phi) * batch.weight.unsqueeze(1) * phi
            imbalance = losses.moment_balance(
                out["propensity"], batch.observed, weighted, logits=True, clip=self.floor_
            )
            terms["balance"] = self.balance_weight * imbalance
        return terms


@dataclass(kw_only=True, eq=False, repr=False)
class IPSV2(MomentBalance):
    """Inverse propensity scoring balanced by a moment: the terms of ``escm2-ips`` and gamma_b times the imbalance.

    Parameters: see :class:`MomentBalance`.
    """

    name: ClassVar[str] = "ips-v2"


@dataclass(kw_only=True, eq=False, repr=False)
class DRV2(MomentBalance, ESCM2DR):
    """Doubly robust learning balanced by a moment: the terms of ``escm2-dr`` and gamma_b times the imbalance.

    Parameters: see :class:`MomentBalance` and :class:`~wbm_ext.recommender.doubly_robust.Imputing`.
    """

    name: ClassVar[str] = "dr-v2"
