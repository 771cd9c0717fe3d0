"""Doubly robust learning with a constant pseudo-label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wbm_ext.recommender.doubly_robust import DoublyRobust
from wbm_ext.recommender.entire_space import EntireSpace
from wbm_ext.recommender.objectives import cross_entropy, errors
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.recommender.two_stage import TwoStage
from wbm_ext.training import Streams

WANG_2019 = "Wang et al., Doubly robust joint learning for recommendation on data missing not at random, ICML 2019"


@dataclass(kw_only=True, eq=False, repr=False)
class DR(TwoStage, DoublyRobust, EntireSpace):
    """Doubly robust with a constant pseudo-label c: L = mean over D of e^ + o (e - e^) / q, e^ = BCE(r^, c).

    Parameters
    ----------
    prior : float or None
        c, the share of positive ratings over D. None: sum of y / q over sum of 1 / q over the training ratings. (Public
        code takes it from ratings of the test part.)

    Other parameters: see :class:`~wbm_ext.recommender.two_stage.TwoStage`,
    :class:`~wbm_ext.recommender.doubly_robust.DoublyRobust` and
    :class:`~wbm_ext.recommender.entire_space.EntireSpace`.

    Attributes
    ----------
    prior_ : float
        The c used.
    """

    prior: float | None = None

    name: ClassVar[str] = "dr"
    reference: ClassVar[str] = WANG_2019
    learnt: ClassVar[dict[str, Any]] = {"prior_": float}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("prior", self.prior, above=0, below=1, optional=True)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        self.prior_ = self._estimated_prior(space) if self.prior is None else float(self.prior)

    def _estimated_prior(self, space: PairSpace) -> float:
        """Return the self-normalised estimate of the positive share over D from the training ratings."""
        with torch.no_grad():
            weight = self._inverse(self._propensity(*space.pairs(space.keys[space.train_positions]))).double()
        labels = space.labels[space.train_positions].double()
        return float((weight * labels).sum() / weight.sum())

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logit = out["logit"]
        imputed = cross_entropy(logit, torch.full_like(logit, self.prior_))
        return {"prediction": self._doubly_robust(batch, errors(batch, logit), imputed, out["q"])}
