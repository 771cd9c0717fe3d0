"""TARNet or BNN with a discrepancy between the treated and the untreated representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wbm_ext import losses
from wbm_ext.ite.batches import Batch
from wbm_ext.ite.defaults import default
from wbm_ext.ite.neural import NeuralEstimator
from wbm_ext.parameters import check_integer, check_number


@dataclass(kw_only=True, eq=False, repr=False)
class BalancedEstimator(NeuralEstimator):
    """L = L_F + λ disc(ψ(treated), ψ(untreated)).

    Parameters
    ----------
    balance_weight : float
        λ; with 0 no discrepancy is computed, and ``cfr-*`` and ``escfr`` are TARNet bit for bit.
    start_epoch : int
        Epochs before the discrepancy joins in.

    A batch of one group has no discrepancy. Other parameters: :class:`~wbm_ext.ite.neural.NeuralEstimator`.
    ``history_`` records λ disc as ``balance`` and disc as ``discrepancy``.
    """

    balance_weight: float = default("balance_weight")
    start_epoch: int = default("start_epoch")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("balance_weight", self.balance_weight, least=0)
        check_integer("start_epoch", self.start_epoch, least=0)

    def _balanced(self, r: Tensor) -> Tensor:
        """Return what of a representation is to be balanced, (B, k)."""
        return r

    def _discrepancy(self, batch: Batch, r: Tensor, outcomes: Tensor) -> Tensor:
        """Return disc, a scalar, of a batch with both groups."""
        raise NotImplementedError(f"{type(self).__name__} gives no discrepancy")

    def _penalties(self, batch: Batch, r: Tensor, outcomes: Tensor) -> dict[str, Tensor]:
        if self.balance_weight == 0 or self._epoch <= self.start_epoch or batch.one_group:
            return {}
        discrepancy = self._discrepancy(batch, r, outcomes)
        return {"balance": discrepancy if self.balance_weight == 1 else self.balance_weight * discrepancy}

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        if "balance" in record:
            record["discrepancy"] = record["balance"] / self.balance_weight


@dataclass(kw_only=True, eq=False, repr=False)
class BNN(BalancedEstimator):
    """One head on [ψ(x), t], and the linear discrepancy |mean ψ(treated) - mean ψ(untreated)| (Johansson et al. 2016).

    Parameters: :class:`BalancedEstimator`.
    """

    name: ClassVar[str] = "bnn"
    _shared_head: ClassVar[bool] = True

    def _discrepancy(self, batch: Batch, r: Tensor, outcomes: Tensor) -> Tensor:
        n = batch.treated
        return losses.linear_discrepancy(r[:n], r[n:])


@dataclass(kw_only=True, eq=False, repr=False)
class CFRMMD(BalancedEstimator):
    """TARNet and the squared maximum mean discrepancy with a Gaussian kernel (Shalit et al. 2017).

    Parameters
    ----------
    bandwidth : float or None
        σ of exp(-|r - r'|² / (2 σ²)), units of the representation. None: the median distance of a batch's units
        (:func:`wbm_ext.losses.median_bandwidth`). A σ far below it makes every unit like itself alone: the discrepancy
        is then 1/n + 1/m whatever the representation, and has no gradient.

    Other parameters: :class:`BalancedEstimator`.
    """

    bandwidth: float | None = None

    name: ClassVar[str] = "cfr-mmd"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("bandwidth", self.bandwidth, above=0, optional=True)

    def _discrepancy(self, batch: Batch, r: Tensor, outcomes: Tensor) -> Tensor:
        n, balanced = batch.treated, self._balanced(r)
        return losses.mmd(balanced[:n], balanced[n:], bandwidth=self.bandwidth)
