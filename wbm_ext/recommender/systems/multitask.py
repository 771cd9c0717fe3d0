"""Weighted multi-task systems: Multi-IPS, Multi-DR, and ESCM2 on either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wbm_ext.recommender.doubly_robust import Imputing
from wbm_ext.recommender.entire_space import MultiTask
from wbm_ext.recommender.objectives import conversion_loss, errors
from wbm_ext.recommender.parameters import check_flag, check_number
from wbm_ext.recommender.sampling import Batch
from wbm_ext.recommender.systems.entire_space import ZHANG_2020
from wbm_ext.recommender.weighted import WeightedRecommender

WANG_2022 = "Wang et al., ESCM2: entire space counterfactual multi-task model, SIGIR 2022"


@dataclass(kw_only=True, eq=False, repr=False)
class MultiIPS(WeightedRecommender, MultiTask):
    """Inverse propensity scoring, q learnt beside: L = BCE(q, o) + mean over D of o e / sg(q).

    Parameters
    ----------
    prediction_weight : float
        Of the second term.
    stop_gradient : bool
        False: the gradient of the error runs through 1 / q too. With ``propensity_weight=0`` that is what some public
        code has; it drives q of observed pairs to 1, and the system becomes the naive one.

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender` and
    :class:`~wbm_ext.recommender.entire_space.MultiTask`.
    """

    prediction_weight: float = 1.0
    stop_gradient: bool = True

    name: ClassVar[str] = "multi-ips"
    reference: ClassVar[str] = ZHANG_2020

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("prediction_weight", self.prediction_weight, least=0)
        check_flag("stop_gradient", self.stop_gradient)

    def _inverse(self, propensity: torch.Tensor) -> torch.Tensor:
        return super()._inverse(propensity) if self.stop_gradient else propensity.clamp(self.floor_, 1.0).reciprocal()

    def _error_terms(self, batch: Batch, out: dict[str, torch.Tensor], q: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"prediction": self.prediction_weight * self._weighted(batch, errors(batch, out["logit"]), q)}

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        q = torch.sigmoid(out["propensity"])
        return {**self._error_terms(batch, out, q), **self._propensity_term(batch, out)}


@dataclass(kw_only=True, eq=False, repr=False)
class MultiDR(Imputing, MultiIPS):
    """Doubly robust, q and e^ learnt beside: BCE(q, o) + [e^ + o (e - e^) / sg(q)] + o (e - e^)^2 / sg(q).

    Means over D; in the last two terms e^ trains the prediction and the imputation respectively. Parameters: see
    :class:`MultiIPS` and :class:`~wbm_ext.recommender.doubly_robust.Imputing`.
    """

    name: ClassVar[str] = "multi-dr"
    tasks: ClassVar[tuple[str, ...]] = ("propensity", "imputation")

    def _error_terms(self, batch: Batch, out: dict[str, torch.Tensor], q: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "prediction": self.prediction_weight * self._prediction_term(batch, out, q),
            "imputation": self._imputation_term(batch, out, q),
        }


@dataclass(kw_only=True, eq=False, repr=False)
class ESCM2IPS(MultiIPS):
    """ESMM with inverse propensity scoring: L = BCE(q, o) + beta BCE(q r^, o r) + theta mean of o e / sg(q).

    Means over D.

    Parameters
    ----------
    conversion_weight : float
        beta; 0 gives ``multi-ips``. theta is ``prediction_weight``.

    Other parameters: see :class:`MultiIPS`.
    """

    conversion_weight: float = 1.0

    name: ClassVar[str] = "escm2-ips"
    reference: ClassVar[str] = WANG_2022

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("conversion_weight", self.conversion_weight, least=0)

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        terms = super()._losses(batch, out)
        if self.conversion_weight > 0:
            conversion = conversion_loss(batch, out["propensity"], out["logit"])
            terms["conversion"] = self.conversion_weight * conversion
        return terms


@dataclass(kw_only=True, eq=False, repr=False)
class ESCM2DR(ESCM2IPS, MultiDR):
    """ESMM with doubly robust learning: the terms of ``multi-dr`` and beta BCE(q r^, o r).

    Parameters: see :class:`ESCM2IPS` and :class:`MultiDR`.
    """

    name: ClassVar[str] = "escm2-dr"
    reference: ClassVar[str] = WANG_2022
