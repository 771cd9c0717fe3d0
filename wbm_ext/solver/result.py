"""What a solve returns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from wbm_ext.solver.status import Status, describe


@dataclass(slots=True)
class Adjoint:
    """What a backward leaves behind: the relative residual of its linear systems, () or (B,)."""

    residual: Tensor | None = None


def version(x: Tensor | None) -> int | None:
    """The number of in-place changes of x so far; None where torch does not count them."""
    return None if x is None or x.is_inference() else x._version


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
    require one. Pickles, ``torch.save`` and deep copies hold the values alone (a graph cannot travel); ``copy.copy``
    shares the graph. ``torch.load`` reads a result with ``weights_only=True`` too.
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
    _D: Tensor | None = field(repr=False)  # None: changed in place before this copy was made
    _mask: Tensor | None = field(repr=False)
    _adjoint: Adjoint = field(repr=False, default_factory=Adjoint)
    _versions: tuple[int | None, int | None] = field(repr=False, default=(None, None))  # of D and mask at the solve

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
        return self._with(Tensor.detach)

    def to(self, device: torch.device | str) -> SinkhornResult:
        """The same result on another device (itself where it is there), with its graph."""
        return self if self.cost.device == torch.device(device) else self._copy(lambda x: x.to(device))

    def cpu(self) -> SinkhornResult:
        """The same result in the memory of the host, with its graph."""
        return self.to("cpu")

    def _with(self, change: Callable[[Tensor], Tensor]) -> SinkhornResult:
        """Every tensor changed, to one that shares its memory."""
        values: dict[str, Any] = {x.name: getattr(self, x.name) for x in fields(self)}
        values.update({name: change(x) for name, x in values.items() if isinstance(x, Tensor)})
        return SinkhornResult(**values)

    def _copy(self, change: Callable[[Tensor], Tensor]) -> SinkhornResult:
        """Every tensor changed, to one with memory of its own, in which nothing has been changed yet."""
        copied = replace(self, _D=None, _mask=None) if self._stale() else self
        copied = copied._with(change)
        return replace(copied, _versions=(version(copied._D), version(copied._mask)))

    def __getstate__(self) -> dict[str, Any]:
        detached = self._copy(lambda x: x.detach().clone())
        state = {x.name: getattr(detached, x.name) for x in fields(detached)}
        return {**state, "_adjoint": self._adjoint.residual, "_versions": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        versions = (version(state["_D"]), version(state["_mask"]))
        self.__dict__.update(state, _adjoint=Adjoint(state["_adjoint"]), _versions=versions)

    def __copy__(self) -> SinkhornResult:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> SinkhornResult:
        copied = self._copy(lambda x: copy.deepcopy(x.detach(), memo))
        return replace(copied, _adjoint=Adjoint(self._adjoint.residual))

    def _stale(self) -> str | None:
        """The input that is not any more what was solved, if there is one."""
        if self._D is None:
            return "D"
        for name, x, solved in (("D", self._D, self._versions[0]), ("mask", self._mask, self._versions[1])):
            if solved is not None and version(x) != solved:
                return name
        return None

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

        Raises
        ------
        RuntimeError
            D or the mask was changed in place since the solve, and the plan had not been asked for before.
        """
        if torch.compiler.is_compiling():
            return self._make_plan()
        plan = self.__dict__.get("_plan")
        if plan is None:
            plan = self.__dict__["_plan"] = self._make_plan()
        return plan

    def _make_plan(self) -> Tensor:
        D, changed = self._D, None if torch.compiler.is_compiling() else self._stale()
        if changed or D is None:
            raise RuntimeError(
                f"{changed} was changed in place after the solve (an optimiser step, a buffer used again?), and the "
                f"plan is computed from it when first asked for; ask for it before, or solve with {changed}.clone()"
            )
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


torch.serialization.add_safe_globals([SinkhornResult])
