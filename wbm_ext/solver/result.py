"""What a solve returns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from wbm_ext.solver.status import Status, describe


@dataclass(slots=True)
class Adjoint:
    """What a backward leaves behind: the relative residual of its linear systems, () or (B,)."""

    residual: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SinkhornResult:
    """Solution of a batch of problems; every tensor has the batch shape, potentials and plan their own behind it.

    Attributes
    ----------
    cost : Tensor, shape (...)
        Sharp cost ⟨D, P⟩: what both papers call the discrepancy. Units of D.
    regularized_cost : Tensor, shape (...)
        The whole minimum: ⟨D, P⟩ - ε H(P) + κ₁ KL(P1 | a) + κ₂ KL(Pᵀ1 | b), or with ε KL(P | a bᵀ) in the place of
        - ε H(P) for ``reference="product"``. A different number from ``cost``.
    iterations : Tensor of int64, shape (...)
        Sinkhorn iterations run (one = the f update, then the g update); with ``method="auto"`` passes over the matrix.
    residual : Tensor of float64, shape (...)
        (|P1 - r*|₁ + |Pᵀ1 - c*|₁) / max(mass, (Σa + Σb)/2) of the plan delivered, with r* = a (hard) or
        a exp(-f/κ₁) (soft, f the dual potential).
    transported_mass : Tensor of float64, shape (...)
        Σ P, no gradient (sum ``plan`` for one). 0 is a valid answer when transport is dear.
    status : Tensor of int32, shape (...)
        Bits of :class:`wbm_ext.Status`; :meth:`status_text` puts them into words.
    epsilon : Tensor of float64, shape (...)
        The ε that was used (also when it was left to the default).

    ``cost``, ``regularized_cost``, ``f``, ``g`` and ``plan`` carry gradients in D, a and b, and in ε and κ where these
    require one. Pickles and deep copies hold the values alone (a graph cannot travel); ``copy.copy`` shares the graph.
    """

    cost: Tensor
    regularized_cost: Tensor
    iterations: Tensor
    residual: Tensor
    transported_mass: Tensor
    status: Tensor
    epsilon: Tensor
    _f: Tensor = field(repr=False)
    _g: Tensor = field(repr=False)
    _D: Tensor = field(repr=False)
    _mask: Tensor | None = field(repr=False)
    _adjoint: Adjoint = field(repr=False, default_factory=Adjoint)

    @property
    def backward_residual(self) -> Tensor | None:
        """Relative residual of the linear systems of the last backward, float64, shape (...); None before one.

        The implicit gradient is as inexact as the larger of this and ``residual``; 0 where no system was solved
        (``grad="frozen"``, ``grad="unrolled"``, the regularised cost alone). Not filled inside ``torch.compile`` and
        ``torch.func``. Nothing is read from the device; on the CPU (or with ``validate="full"``) a
        :class:`wbm_ext.ConvergenceWarning` comes from a backward whose residual is above max(tol, 1e-6).
        """
        residual = self._adjoint.residual
        return None if residual is None else residual.reshape(self.residual.shape)

    def detach(self) -> SinkhornResult:
        """The same values without their graph."""
        values: dict[str, Any] = {x.name: getattr(self, x.name) for x in fields(self)}
        values.update({name: x.detach() for name, x in values.items() if isinstance(x, Tensor)})
        return SinkhornResult(**values)

    def __getstate__(self) -> dict[str, Any]:
        detached = self.detach()
        return {x.name: getattr(detached, x.name) for x in fields(detached)}

    def __copy__(self) -> SinkhornResult:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> SinkhornResult:
        state = {name: copy.deepcopy(x, memo) for name, x in self.__getstate__().items()}
        return replace(self, **state)

    @property
    def f(self) -> Tensor:
        """Row potentials (..., n), units of D, with P_ij = exp((f_i + g_j - D_ij)/ε) for both references.

        Gauge with both marginals hard: ⟨a, f⟩/Σa = ⟨b, g⟩/Σb. -inf where a_i = 0; 0 in a row of a soft marginal
        that has mass but no admissible partner.
        """
        return self._f.to(self.cost.dtype)

    @property
    def g(self) -> Tensor:
        """Column potentials (..., m); see :attr:`f`."""
        return self._g.to(self.cost.dtype)

    @property
    def converged(self) -> Tensor:
        """True where the criterion was met, bool, shape (...)."""
        return self.status.bitwise_and(int(Status.CONVERGED)).bool()

    @property
    def plan(self) -> Tensor:
        """Transport plan P (..., n, m), computed when first asked for; 0 at forbidden pairs.

        The exponent is evaluated in float64, so that the plan has the marginals that ``residual`` speaks of.
        """
        if torch.compiler.is_compiling():
            return self._make_plan()
        kept = self.__dict__.get("_plan")
        if kept is None:
            kept = self.__dict__["_plan"] = self._make_plan()
        return kept

    def _make_plan(self) -> Tensor:
        D = self._D
        if self._mask is not None:
            D = torch.where(self._mask, D, float("inf"))
        exponent = self._f.unsqueeze(-1) + self._g.unsqueeze(-2) - D
        epsilon = self.epsilon[..., None, None]
        if not epsilon.requires_grad:
            return torch.exp(exponent / epsilon).to(self.cost.dtype)
        empty = exponent == -float("inf")  # -inf / epsilon would have the derivative inf, and 0 inf = NaN
        plan = torch.exp(torch.where(empty, 0.0, exponent) / epsilon)
        return torch.where(empty, 0.0, plan).to(self.cost.dtype)

    def status_text(self) -> list[str] | str:
        """The status in words, one text per problem (reads the device)."""
        if self.status.dim() == 0:
            return describe(int(self.status))
        return [describe(int(s)) for s in self.status.flatten()]
