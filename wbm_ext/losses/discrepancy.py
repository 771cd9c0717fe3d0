"""A transport discrepancy with what tells whether its value means anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wbm_ext.errors import BalanceWarning, warn_once
from wbm_ext.losses.groups import fixed_shapes
from wbm_ext.losses.masses import effective_sample_size
from wbm_ext.solver import SinkhornResult

MIN_ESS = 0.1


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """Value of a transport loss and its diagnostics, none of which carries a gradient.

    Attributes
    ----------
    value : Tensor, scalar
        The loss; 0 when a group is empty.
    result : SinkhornResult or None
        The solve; None when a group is empty.
    masses : (Tensor, Tensor) or None
        Masses of rows and columns where they are kept as given; None where they are relaxed, and the plan's own
        marginals P1 and Pᵀ1 are what the diagnostics speak of.
    """

    value: Tensor
    result: SinkhornResult | None
    masses: tuple[Tensor, Tensor] | None

    def _scalar(self, value: float) -> Tensor:
        return torch.full((), value, dtype=torch.float64, device=self.value.device)

    @property
    def carried(self) -> tuple[Tensor, Tensor] | None:
        """Mass that each row and each column carries: as given, or P1 and Pᵀ1 where marginals are relaxed."""
        if self.masses is not None or self.result is None:
            return self.masses
        plan = self.result.plan.detach()
        return plan.sum(-1), plan.sum(-2)

    @property
    def ess_treated(self) -> Tensor:
        """Effective sample size (Σw)²/Σw² of the rows; 0 when a group is empty."""
        return self._scalar(0.0) if self.carried is None else effective_sample_size(self.carried[0])

    @property
    def ess_other(self) -> Tensor:
        """Effective sample size of the columns; 0 when a group is empty."""
        return self._scalar(0.0) if self.carried is None else effective_sample_size(self.carried[1])

    @property
    def largest_mass(self) -> Tensor:
        """Largest mass of one sample on either side."""
        if self.carried is None:
            return self._scalar(0.0)
        a, b = (side.detach().amax(-1).double() for side in self.carried)
        return torch.maximum(a, b)

    @property
    def transported_mass(self) -> Tensor:
        """Σ P; 0 when a group is empty."""
        return self._scalar(0.0) if self.result is None else self.result.transported_mass

    @property
    def residual(self) -> Tensor:
        """Marginal residual of the solve, as in :class:`wbm_ext.SinkhornResult`; 0 when a group is empty."""
        return self._scalar(0.0) if self.result is None else self.result.residual

    @property
    def iterations(self) -> Tensor:
        """Iterations of the solve; 0 when a group is empty."""
        return self._scalar(0.0).long() if self.result is None else self.result.iterations


def warn_of_collapse(a: Tensor, b: Tensor, min_ess: float | None, ess: tuple[float, float] | None = None) -> None:
    """BalanceWarning when (Σw)²/Σw² of normalised masses, ``ess`` where known, is below ``min_ess`` × their number.

    Reading a number waits for the device: by default it is done on the CPU only, and never inside ``torch.compile`` or
    CUDA graph capture.
    """
    if fixed_shapes(a) or min_ess == 0 or (min_ess is None and a.device.type != "cpu"):
        return
    if ess is None:
        treated, other = (1.0 / float(torch.dot(w, w)) for w in (a.detach(), b.detach()))
        ess = treated, other
    warn_of_sizes(ess, (len(a), len(b)), min_ess)


def warn_of_sizes(ess: tuple[float, float], sizes: tuple[int, int], min_ess: float | None) -> None:
    """:func:`warn_of_collapse` for known effective sample sizes of the treated and the other samples."""
    share = MIN_ESS if min_ess is None else min_ess
    for side, size, ess_of_side in zip(("treated", "other"), sizes, ess, strict=True):
        if ess_of_side < share * size:
            message = (
                f"the effective sample size of the {side} samples is {ess_of_side:.1f} of {size} (below a share of "
                f"{share:g}): a few carry the mass, and a low value then means collapse, not balance; raise clip, give "
                "the likelihood of the treatment more weight beside this loss, or take masses='self-normalized' where "
                "they are 'softmax' (min_ess=0 silences this)"
            )
            warn_once(BalanceWarning(message))
            return
