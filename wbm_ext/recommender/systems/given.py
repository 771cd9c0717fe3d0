"""Inverse propensity scoring by propensities that are known, not fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wbm_ext.recommender.sampling import PairSpace
from wbm_ext.recommender.systems.ips import IPS
from wbm_ext.recommender.weighted import WeightedRecommender
from wbm_ext.training import Streams


@dataclass(kw_only=True, eq=False, repr=False)
class GivenIPS(IPS):
    """Inverse propensity scoring with given propensities: those of a generator, or a constant, as rows to compare with.

    Parameters
    ----------
    propensities : array, shape (n_users, n_items)
        P(observed) of every pair, in (0, 1].

    Other parameters: see :class:`~wbm_ext.recommender.weighted.WeightedRecommender`; ``floor`` defaults to the least
    propensity.
    """

    propensities: Any = None

    name: ClassVar[str] = "ips-given"

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        q = torch.as_tensor(self.propensities, dtype=getattr(torch, self.dtype), device=space.device)
        if q.shape != (space.n_users, space.n_items):
            raise ValueError(f"propensities must have shape {(space.n_users, space.n_items)}; got {tuple(q.shape)}")
        if not bool(((q > 0) & (q <= 1)).all()):
            raise ValueError("propensities must be in (0, 1]")
        WeightedRecommender._prepare(self, space, streams)
        if self.floor is None:
            self.floor_ = float(q.min())
        self._given = q

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return self._given[users, items]
