"""How healthy the weights are, epoch by epoch, on a fixed sample of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wbm_ext import losses
from wbm_ext.metrics import clipped_share, effective_sample_size, largest_share
from wbm_ext.recommender.sampling import PairSpace, stratified_batch

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class BalanceMonitor:
    """Diagnostics of propensities on a fixed random sample of training pairs and of unobserved pairs.

    Parameters
    ----------
    space : PairSpace
    floor : float
        What the propensities are clipped at, from both ends.
    limit : int
        Largest number of pairs a side for the effective sample sizes.
    transport_limit : int
        Largest number of pairs a side for WBM.
    """

    def __init__(
        self,
        space: PairSpace,
        floor: float,
        *,
        generator: torch.Generator,
        limit: int = 4096,
        transport_limit: int = 128,
    ) -> None:
        order = torch.randperm(space.n_train, generator=generator)[:limit].to(space.device)
        count = len(order)
        self.floor = floor
        self.batch = stratified_batch(space, space.train_positions[order], count, generator)
        self.n_treated = int(self.batch.observed.sum())
        self.n_untreated = len(self.batch.observed) - self.n_treated
        first = torch.arange(min(transport_limit, count), device=space.device)
        self.few = torch.cat([first, first + self.n_treated]) if self.n_untreated else first

    def __call__(self, propensity: Function, representation: Function) -> dict[str, float]:
        """Return ess_treated, ess_untreated (pairs), largest_share_* and clipped_share (shares), wbm.

        ``wbm`` is the transport cost between the reweighted sides in the model's present representation, with
        the cost divided by its mean: unit-free, 0 if there is no unobserved pair.
        """
        batch = self.batch
        q = propensity(batch.users, batch.items)
        clipped = q.clamp(self.floor, 1.0 - self.floor)
        report = {"clipped_share": float(clipped_share(q[batch.observed].cpu().numpy(), self.floor))}
        sides = {"treated": clipped[batch.observed].reciprocal()}
        if self.n_untreated:
            sides["untreated"] = (1.0 - clipped[~batch.observed]).reciprocal()
        for side, weights in sides.items():
            array = weights.double().cpu().numpy()
            report[f"ess_{side}"] = float(effective_sample_size(array))
            report[f"largest_share_{side}"] = float(largest_share(array))
        few = self.few
        report["wbm"] = float(
            losses.wbm(
                q[few],
                batch.observed[few],
                representation(batch.users[few], batch.items[few]),
                clip=self.floor,
                scale_cost=True,
                tol=1e-3,
                min_ess=0,
            )
        )
        return report
