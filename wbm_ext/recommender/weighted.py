"""What systems that weigh observed errors by inverse propensities share: floor, weights, diagnostics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wbm_ext.errors import BalanceWarning, check_name
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.monitor import BalanceMonitor
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.training import Streams

_SMALL = 0.05


@dataclass(kw_only=True, eq=False, repr=False)
class WeightedRecommender(Recommender):
    """Base of the systems with a propensity q: errors of observed pairs count 1 / clip(q, floor, 1).

    Parameters
    ----------
    floor : float or None
        Smallest propensity a weight may be built from. None: a quarter of |O| / |D|, so that no observed pair
        counts more than four times what it would if ratings were missing at random, whatever the density. (A
        fixed .05 clips everything where the density is .02.)
    normalise : {"none", "snips", "kappa"}
        "none": the mean over D of o e / q; "snips": the weights of a batch are divided by their sum; "kappa": the
        mean of o e / (kappa q), Eq. 12 and 13 of "Debiased Recommendation via Wasserstein Causal Balancing" as
        printed. With q a probability this is 1 / kappa too large: a constant for inverse propensity scoring, but
        no longer doubly robust.

    Attributes
    ----------
    floor_ : float
        The floor used.
    """

    floor: float | None = None
    normalise: str = "none"

    learnt: ClassVar[dict[str, Any]] = {"floor_": float}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("floor", self.floor, above=0, below=0.5, optional=True)
        check_name("normalise", self.normalise, ["none", "snips", "kappa"])

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        self.floor_ = float(self.floor) if self.floor is not None else space.density / 4.0
        self._monitor = BalanceMonitor(space, self.floor_, generator=streams.torch("monitor"))

    def _inverse(self, propensity: torch.Tensor) -> torch.Tensor:
        """Return 1 / clip(sg(q), floor, 1): no error trains the propensity that weighs it."""
        return propensity.detach().clamp(self.floor_, 1.0).reciprocal()

    def _weighted(self, batch: Batch, values: torch.Tensor, propensity: torch.Tensor) -> torch.Tensor:
        """Return the estimate of the mean of ``values`` over D: sum_b weight_b o_b v_b / clip(q_b), a scalar.

        ``values`` (B,) are read where ``batch.observed`` only.
        """
        zero = torch.zeros((), dtype=values.dtype, device=values.device)
        weight = torch.where(batch.observed, batch.weight * self._inverse(propensity), zero)
        total = (weight * torch.where(batch.observed, values, zero)).sum()
        if self.normalise == "snips":
            total = total / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
        return total / self.density_ if self.normalise == "kappa" else total

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        record.update(self._monitor(self._propensity, self.model_.representation))

    def _conclude(self) -> None:
        last = self.history_.records[(self.history_.best_epoch or 1) - 1]
        for side in ("treated", "untreated"):
            share = last.get(f"ess_{side}", float("nan")) / max(getattr(self._monitor, f"n_{side}"), 1)
            if share < _SMALL:
                warnings.warn(
                    f"{self.name}: the weights of the {side} pairs have an effective sample size of "
                    f"{share:.1%} of their number (largest weight: "
                    f"{last['largest_share_' + side]:.1%} of the mass); "
                    f"raise floor (now {self.floor_:.3g}), use normalise='snips', or raise weight_decay",
                    BalanceWarning,
                    stacklevel=3,
                )
        del self._monitor
