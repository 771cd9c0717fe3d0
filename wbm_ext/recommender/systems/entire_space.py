"""Multi-task systems over all pairs without inverse propensities: ESMM, Multi-IMP, Multi-EIB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wbm_ext.recommender.entire_space import MultiTask
from wbm_ext.recommender.objectives import (
    conversion_loss,
    cross_entropy,
    errors,
    imputed_errors,
    mean,
    observed_mean,
    positive,
)
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch, PairSpace

ZHANG_2020 = (
    "Zhang et al., Large-scale causal approaches to debiasing post-click conversion rate estimation with multi-task "
    "learning, WWW 2020"
)


@dataclass(kw_only=True, eq=False, repr=False)
class ESMM(MultiTask):
    """Observation and conversion over all pairs: L = alpha BCE(q, o) + BCE(q r^, o r), means over D.

    alpha is ``propensity_weight``. Nothing is clipped: both terms are computed from logits. The labels teach r^ only
    through q r^, about |O| / |D| as strongly as elsewhere, so the weight decay that is right elsewhere would leave
    nothing of it; 1e-5 has the lowest log loss on held-out biased pairs of Coat. Parameters: see
    :class:`~wbm_ext.recommender.entire_space.MultiTask`.
    """

    weight_decay: float = 1e-5

    name: ClassVar[str] = "esmm"
    reference: ClassVar[str] = "Ma et al., Entire space multi-task model, SIGIR 2018"

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        conversion = conversion_loss(batch, out["propensity"], out["logit"])
        return {"conversion": conversion, **self._propensity_term(batch, out)}


@dataclass(kw_only=True, eq=False, repr=False)
class MultiIMP(MultiTask):
    """Unobserved pairs as negatives: L = BCE(q, o) + BCE(r^, o r), means over D.

    r^ is then no P(positive rating) but P(rated and positive), about |O| / |D| times that; so the epoch is chosen by
    AUC, and the predictions start at that rate. Parameters: see
    :class:`~wbm_ext.recommender.entire_space.MultiTask`.
    """

    validation_metric: str = "auc"

    name: ClassVar[str] = "multi-imp"
    reference: ClassVar[str] = ZHANG_2020

    def _network(self, space: PairSpace, generator: torch.Generator, *, base_rate: float) -> torch.nn.Module:
        return super()._network(space, generator, base_rate=space.density * base_rate)

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        prediction = mean(batch, cross_entropy(out["logit"], positive(batch)))
        return {"prediction": prediction, **self._propensity_term(batch, out)}


@dataclass(kw_only=True, eq=False, repr=False)
class MultiEIB(MultiTask):
    """Imputed errors where nothing is observed: L = BCE(q, o) + mean [o e + (1 - o) e^] + mean [o (e - e^)^2].

    Means over D. e^ = BCE(r^, r~): r~ is held in the second term, r^ in the third. Unbiased only if the imputed errors
    are right, and the fewer pairs are observed the more it is them that the prediction follows.

    Parameters
    ----------
    imputation_weight : float
        Of the third term.

    Other parameters: see :class:`~wbm_ext.recommender.entire_space.MultiTask`.
    """

    weight_decay: float = 1e-4
    imputation_weight: float = 1.0

    name: ClassVar[str] = "multi-eib"
    reference: ClassVar[str] = ZHANG_2020
    tasks: ClassVar[tuple[str, ...]] = ("propensity", "imputation")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("imputation_weight", self.imputation_weight, least=0)

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logit = out["logit"]
        error = errors(batch, logit)
        held = imputed_errors("pseudo-label", logit, out["imputation"].detach())
        learnt = imputed_errors("pseudo-label", logit.detach(), out["imputation"])
        return {
            "prediction": mean(batch, torch.where(batch.observed, error, held)),
            "imputation": self.imputation_weight * observed_mean(batch, (error.detach() - learnt).square()),
            **self._propensity_term(batch, out),
        }
