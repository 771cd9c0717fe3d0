"""Counterfactual variational information bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from wbm_ext.recommender.entire_space import EntireSpace
from wbm_ext.recommender.objectives import errors, mean
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class CVIB(EntireSpace):
    """Information bottleneck without propensities: observed and all pairs are given the same mean prediction.

    L = mean over O of e + alpha [-p_O log p_D - (1 - p_O) log(1 - p_D)] + gamma mean over O of r^ log r^, p_O and p_D
    the mean predictions over O and over D. The batch's weights make p_D a mean over D; p_O and the first term are
    means over its observed pairs.

    Parameters
    ----------
    contrast_weight : float
        alpha.
    information_weight : float
        gamma.

    Other parameters: see :class:`~wbm_ext.recommender.entire_space.EntireSpace`.
    """

    contrast_weight: float = 0.1
    information_weight: float = 0.01

    name: ClassVar[str] = "cvib"
    reference: ClassVar[str] = (
        "Wang et al., Information theoretic counterfactual learning from missing-not-at-random feedback, NeurIPS 2020"
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("contrast_weight", self.contrast_weight, least=0)
        check_number("information_weight", self.information_weight, least=0)

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logit = out["logit"]
        count = batch.observed.sum().clamp_min(1)
        share = batch.observed.to(logit) / count  # weights of a mean over the observed pairs
        prediction = torch.sigmoid(logit)
        inside = (share * prediction).sum()
        # uniform batches lose held-out pairs, so the weights add up to 1 on average only
        outside = (mean(batch, prediction) / batch.weight.sum()).clamp(1e-6, 1.0 - 1e-6)
        contrast = -inside * outside.log() - (1.0 - inside) * torch.log1p(-outside)
        information = (share * prediction * logsigmoid(logit)).sum()
        return {
            "prediction": (share * errors(batch, logit)).sum(),
            "contrast": self.contrast_weight * contrast,
            "information": self.information_weight * information,
        }
