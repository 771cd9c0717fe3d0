"""Stable doubly robust learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from wbm_ext.recommender.doubly_robust import Imputing
from wbm_ext.recommender.entire_space import MultiTask
from wbm_ext.recommender.objectives import errors, imputed_errors, mean, propensity_loss
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class SDR(Imputing, MultiTask):
    """Stable doubly robust: self-normalised weights whose propensities are bound to leave imputed errors unbiased.

    Three networks are updated in turns on each batch: (1) imputation, mean over D of o (e - e^)^2 / q; (2) propensity,
    BCE(q, o) over D + eta [mean over D of (1 - o / q) (e^ - mean e^)]^2; (3) prediction, sum of o e / q over sum of
    o / q. Under the constraint of (2) the third is also the doubly robust estimate.

    Parameters
    ----------
    constraint_weight : float
        eta.

    Other parameters: see :class:`~wbm_ext.recommender.doubly_robust.Imputing` and
    :class:`~wbm_ext.recommender.entire_space.MultiTask`.
    """

    normalise: str = "snips"
    embeddings: str = "separate"
    constraint_weight: float = 100.0

    name: ClassVar[str] = "sdr"
    reference: ClassVar[str] = (
        "Li, Zheng, Wu, StableDR: stabilized doubly robust learning for recommendation on data missing not at random, "
        "ICLR 2023"
    )
    tasks: ClassVar[tuple[str, ...]] = ("propensity", "imputation")
    phases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "imputation": ("imputation",),
        "propensity": ("propensity", "constraint"),
        "prediction": ("prediction",),
    }

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("constraint_weight", self.constraint_weight, least=0)

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        q = torch.sigmoid(out["propensity"])
        return {
            "imputation": self._imputation_term(batch, out, q),
            "propensity": self.propensity_weight * propensity_loss("nll", out["propensity"], batch),
            "constraint": self.constraint_weight * self._imbalance(batch, out, q).square(),
            "prediction": self._weighted(batch, errors(batch, out["logit"]), q),
        }

    def _imbalance(self, batch: Batch, out: dict[str, torch.Tensor], q: torch.Tensor) -> torch.Tensor:
        """Return the mean over D of (1 - o / clip(q)) (e^ - mean e^), with a gradient to q alone."""
        imputed = imputed_errors("pseudo-label", out["logit"].detach(), out["imputation"].detach())
        centred = imputed - mean(batch, imputed) / batch.weight.sum()
        return mean(batch, (1.0 - batch.observed / q.clamp(self.floor_, 1.0)) * centred)
