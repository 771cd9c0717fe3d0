"""Inverse propensity scoring in two stages, plain and self-normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wbm_ext.recommender.objectives import errors
from wbm_ext.recommender.sampling import Batch
from wbm_ext.recommender.two_stage import TwoStage


@dataclass(kw_only=True, eq=False, repr=False)
class IPS(TwoStage):
    """Inverse propensity scoring, q fitted beforehand: L = kappa mean over O of e / clip(q, floor, 1).

    The factor kappa = |O| / |D| makes L the estimate of the mean error over D (Eq. 6 of "Debiased
    Recommendation via Wasserstein Causal Balancing"), of the size of the naive loss, so that weight decay
    means the same in both. Parameters: see :class:`~wbm_ext.recommender.two_stage.TwoStage`.
    """

    name: ClassVar[str] = "ips"
    reference: ClassVar[str] = "Schnabel et al., Recommendations as treatments, ICML 2016"

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        over_d = batch._replace(weight=batch.weight * self.density_)
        return {"prediction": self._weighted(over_d, errors(batch, out["logit"]), out["q"])}


@dataclass(kw_only=True, eq=False, repr=False)
class SNIPS(IPS):
    """Self-normalised inverse propensity scoring: L = sum of e / q over sum of 1 / q, over the pairs of a batch.

    ``ips`` with ``normalise="snips"``. Parameters: see :class:`~wbm_ext.recommender.two_stage.TwoStage`.
    """

    normalise: str = "snips"

    name: ClassVar[str] = "snips"
    reference: ClassVar[str] = (
        "Swaminathan, Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015"
    )
