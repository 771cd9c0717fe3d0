"""Matrix factorisation on the observed ratings as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.sampling import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class Naive(Recommender):
    """Matrix factorisation on the observed ratings: L = mean over O of e, e = BCE(r^, r).

    The ideal loss if ratings were missing completely at random. Eq. 2 of "Debiased Recommendation via Wasserstein
    Causal Balancing" divides the same sum by |D|; the constant matters to Adam only against weight decay. Parameters:
    see :class:`~wbm_ext.recommender.base.Recommender`.
    """

    name: ClassVar[str] = "naive"
    reference: ClassVar[str] = "Koren, Bell, Volinsky, Matrix factorization techniques for recommender systems, 2009"

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"prediction": binary_cross_entropy_with_logits(out["logit"], batch.labels)}
