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
    """L = mean over O of e, e = BCE(r^, r): the ideal loss if ratings were missing completely at random.

    Eq. 2 of "Debiased Recommendation via Wasserstein Causal Balancing" divides the same sum by |D|; the
    constant matters to Adam only against weight decay. Parameters: see
    :class:`~wbm_ext.recommender.base.Recommender`.
    """

    name: ClassVar[str] = "naive"

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"prediction": binary_cross_entropy_with_logits(self.model_(*batch[:2]), batch.labels)}
