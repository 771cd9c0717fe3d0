"""Systems that move the treated representations towards the untreated ones by optimal transport."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbm_ext import losses
from wbm_ext.datasets._arrays import check_same_length
from wbm_ext.errors import BalanceWarning, check_name, warn_once
from wbm_ext.ite.arguments import as_outcome, as_treatment
from wbm_ext.ite.balancing import BalancedEstimator
from wbm_ext.ite.batches import Batch
from wbm_ext.ite.defaults import default
from wbm_ext.losses.escfr import escfr_solved
from wbm_ext.parameters import check_flag, check_integer, check_number
from wbm_ext.solver import solve

LEAST_MASS = 0.05  # total of the plan below which it is warned of
_OF_COST = ("gamma", "distance_scale")


def _mean(values: Sequence[Tensor | float]) -> float:
    return float(torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values]).mean())


@dataclass(frozen=True)
class TransportPlan:
    """The transport problem of given units, in the representation of a fitted system.

    Attributes
    ----------
    plan : array, shape (n, m)
        π: rows are treated, columns untreated units.
    cost : array, shape (n, m)
        D, the costs it rests on.
    treated, untreated : arrays of int, shapes (n,) and (m,)
        Positions of the rows and columns among the given units.
    discrepancy, transported_mass, residual : float
        ⟨D, π⟩, Σ π, marginal error of the solve.
    """

    plan: NDArray[np.float64]
    cost: NDArray[np.float64]
    treated: NDArray[np.int64]
    untreated: NDArray[np.int64]
    discrepancy: float
    transported_mass: float
    residual: float


@dataclass(kw_only=True, eq=False, repr=False)
class TransportEstimator(BalancedEstimator):
    """L = L_F + λ ⟨D, sg(π)⟩, with π the entropic plan between the two groups of a batch, each of total mass 1.

    Parameters
    ----------
    epsilon : float
        ε, entropic regularisation, in units of ``cost_unit``.
    cost_scale : float
        s in D = s |r_i - r_j|² (+ γ ...). With ``cost_unit=None`` what matters to the plan is s / ε: ε = 1 with
        s = 0.1 is ε = 10 for plain squared distances.
    cost_unit : {"median", None}
        Unit of ε and κ. "median": the median of D over the pairs of the epoch's first batch with both groups, so that
        the plan does not depend on the scale of the representation. None, as published: that of D; κ = 1 with costs of
        100 then moves no mass, and the system is TARNet.
    tol, max_iter : float, int
        Of the solve: marginal error, iterations.

    Other parameters: :class:`~wbm_ext.ite.balancing.BalancedEstimator`. ``history_`` also records
    ``transported_mass`` and ``residual``, means over the batches of an epoch, and ``cost_unit``. A fit that moved less
    than 5 % of the mass ends with a :class:`~wbm_ext.errors.BalanceWarning`.

    Attributes
    ----------
    cost_unit_ : float
        The unit used last.
    """

    epsilon: float = default("epsilon")
    cost_scale: float = default("cost_scale")
    cost_unit: str | None = "median"
    tol: float = 1e-4
    max_iter: int = 1000

    learnt: ClassVar[dict[str, Any]] = {"cost_unit_": float}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("epsilon", self.epsilon, above=0)
        check_number("cost_scale", self.cost_scale, above=0)
        if self.cost_unit is not None:
            check_name("cost_unit", self.cost_unit, ["median"])
        check_number("tol", self.tol, above=0)
        check_integer("max_iter", self.max_iter)

    # What ESCFR makes a choice of.
    def _relaxation(self) -> tuple[float, str]:
        """Return κ and the reference measure of the entropy."""
        return math.inf, "entropy"

    def _gamma(self) -> float:
        """Return γ for outcomes as they are trained."""
        return 0.0

    def _options(self) -> dict[str, Any]:
        """Options of the loss and of the solve in it."""
        kappa, reference = self._relaxation()
        return {
            "gamma": self._gamma(), "distance_scale": self.cost_scale, "epsilon": self.epsilon * self.cost_unit_,
            "kappa": kappa * self.cost_unit_, "reference": reference, "tol": self.tol, "max_iter": self.max_iter,
        }  # fmt: skip

    def _cost(self, batch: Batch, r: Tensor, other: Tensor | None) -> Tensor:
        """Return D of a batch, (n, m)."""
        n, options = batch.treated, self._options()
        outcomes = (batch.y, batch.y if other is None else other)  # not read where γ is 0
        return losses.pfor_cost(
            *(side for part in (r, *outcomes) for side in (part[:n], part[n:])),
            gamma=options["gamma"],
            distance_scale=options["distance_scale"],
        )

    @torch.no_grad()
    def _measure_unit(self, batch: Batch, r: Tensor, other: Tensor | None) -> None:
        self.cost_unit_ = float(self._cost(batch, r, other).median()) or 1.0
        self._unit_epoch = self._epoch

    def _discrepancy(self, batch: Batch, r: Tensor, outcomes: Tensor) -> Tensor:
        balanced = self._balanced(r)
        other = batch.counterfactual(outcomes) if self._gamma() > 0 else None
        if self.cost_unit == "median" and self._unit_epoch != self._epoch:
            self._measure_unit(batch, balanced, other)
        found = escfr_solved(balanced, batch.treatment, batch.y, other, **self._options())
        self._solves.append((found.transported_mass, found.residual))
        return found.value

    def _start_epoch(self, epoch: int) -> None:
        super()._start_epoch(epoch)
        self._solves: list[tuple[Tensor | float, Tensor | float]] = []

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        super()._diagnose(epoch, record)
        if self._solves:
            means = [_mean(values) for values in zip(*self._solves, strict=True)]
            record.update(zip(("transported_mass", "residual"), means, strict=True))
            record["cost_unit"] = self.cost_unit_

    def _train(self, *args: Any) -> None:
        self.cost_unit_, self._unit_epoch = 1.0, 0
        super()._train(*args)

    def _conclude(self) -> None:
        super()._conclude()
        mass = self._chosen_record().get("transported_mass", 1.0)
        if mass < LEAST_MASS:
            message = (
                f"{self.name}: the plan carries a mass of {mass:.2g} only, and the discrepancy moves next to nothing; "
                f"raise kappa, lower cost_scale (now {self.cost_scale:g}), or set cost_unit='median'"
            )
            warn_once(BalanceWarning(message))

    # ------------------------------------------------------------------ after fit

    def transport_plan(self, X: Any, y: Any = None, *, treatment: Any) -> TransportPlan:
        """Return the transport problem that a batch of these units poses to the fitted system.

        Parameters
        ----------
        X, y, treatment
            As in ``fit``. ``y`` is read where γ > 0.

        Raises
        ------
        ValueError
            If one of the two groups is empty, or ``y`` is missing.
        """
        x, treated = self._encode(X), as_treatment("treatment", treatment)
        rows, columns = np.flatnonzero(treated), np.flatnonzero(~treated)
        if len(treated) != len(x) or not len(rows) or not len(columns):
            raise ValueError(
                f"treatment must have the length of X, {len(x)}, and hold both groups; got {len(rows)} treated and "
                f"{len(columns)} untreated units"
            )
        if y is None:
            self._check_without_outcomes()
        order = np.concatenate([rows, columns])
        observed = np.zeros(len(x)) if y is None else as_outcome("y", y)
        check_same_length(X=x, y=observed)
        scaled = (observed[order] - self.location_) / self.spread_
        like = next(self.model_.parameters())
        with torch.no_grad():
            batch = Batch(torch.as_tensor(x[order]).to(like), torch.as_tensor(scaled).to(like), len(rows))
            r = self.model_.represent(batch.x)
            cost = self._cost(batch, self._balanced(r), batch.counterfactual(self.model_.heads(r)))
            options = {name: value for name, value in self._options().items() if name not in _OF_COST}
            result = solve(cost, **options)
        return TransportPlan(
            result.plan.double().cpu().numpy(),
            cost.double().cpu().numpy(),
            rows,
            columns,
            float(result.cost),
            float(result.transported_mass),
            float(result.residual),
        )

    def _check_without_outcomes(self) -> None:
        """Raise if the cost needs outcomes."""


@dataclass(kw_only=True, eq=False, repr=False)
class CFRWass(TransportEstimator):
    """TARNet and the entropic Wasserstein discrepancy, all mass transported (Shalit et al. 2017).

    Their own code has the unsquared distance and another, once unrolled iteration; this is the form of the ESCFR
    paper, its baseline. Parameters: :class:`TransportEstimator`.
    """

    cost_scale: float = 1.0

    name: ClassVar[str] = "cfr-wass"


@dataclass(kw_only=True, eq=False, repr=False)
class ESCFR(TransportEstimator):
    """Entire space counterfactual regression: relaxed mass (RMPR) and outcomes in the cost (PFOR).

        D_ij = s |r_i - r_j|² + γ [(φ_0(r_i) - y_j)² + (φ_1(r_j) - y_i)²],   i treated, j untreated,
        π = argmin ⟨D, π⟩ - ε H(π) + κ KL(π1 | 1/n) + κ KL(πᵀ1 | 1/m)

    "Sinkhorn Discrepancy for Counterfactual Generalization", Eq. 8, 12 to 15 and Algorithm 3, whose step 4 is read with
    representations for x. The plan is a constant; the gradient of D goes to ψ, and that of its second part also to the
    heads: φ_0 at treated units, φ_1 at untreated ones.

    Parameters
    ----------
    kappa : float
        κ, strength of mass preservation, in units of ``cost_unit``; inf: all mass is transported.
    gamma : float
        γ, in units of D over those of y squared; 0 leaves outcomes out.
    reference : {"product", "entropy"}
        Of the entropic term: -KL(π | 1/(n m)), or H(π) as in Eq. 8. With the first the plan's mass is at most 1, and
        less where transport is dear. With the second and a finite κ it grows with the batch, also above 1: λ then means
        more for larger batches. Nothing differs where κ is inf.
    detach_outcomes : bool
        Keep the gradient of the second part from heads and ψ: it then acts on the plan alone.

    Other parameters: :class:`TransportEstimator`.
    """

    kappa: float = default("kappa")
    gamma: float = default("gamma")
    reference: str = "product"
    detach_outcomes: bool = False

    name: ClassVar[str] = "escfr"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("kappa", self.kappa, above=0, infinite=True)
        check_number("gamma", self.gamma, least=0)
        check_name("reference", self.reference, ["entropy", "product"])
        check_flag("detach_outcomes", self.detach_outcomes)

    def _relaxation(self) -> tuple[float, str]:
        return self.kappa, self.reference

    def _gamma(self) -> float:
        return self.gamma * self.spread_**2

    def _discrepancy(self, batch: Batch, r: Tensor, outcomes: Tensor) -> Tensor:
        return super()._discrepancy(batch, r, outcomes.detach() if self.detach_outcomes else outcomes)

    def _check_without_outcomes(self) -> None:
        if self.gamma > 0:
            raise ValueError(f"y must be given: with gamma={self.gamma:g} outcomes are part of the cost")
