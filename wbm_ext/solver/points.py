"""Transport between two point clouds whose cost matrix need not be stored.

Two roads lead to the same numbers. Up to ``MATRIX_ENTRIES`` pairs, and where the CPU kernels are missing, the matrix of
costs is made and :func:`wbm_ext.solve` solves it. Beyond, ``csrc/cpu/cloud`` looks only at the pairs that can carry
mass, from coarse boxes to the points, and bounds what it has left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wbm_ext._native import BACKEND, core
from wbm_ext.errors import ConvergenceWarning, check_name, warn_once
from wbm_ext.solver.api import solve
from wbm_ext.solver.autograd import FAITHFUL, warn_of_backward
from wbm_ext.solver.checks import positive_number
from wbm_ext.solver.kernels import in_memory
from wbm_ext.solver.problem import REFERENCES, ReferenceName
from wbm_ext.solver.result import SinkhornResult
from wbm_ext.solver.status import Status, describe

MATRIX_ENTRIES = 1 << 22  # pairs up to which the matrix is made: 2,048 x 2,048
ROADS = ("auto", "matrix", "points")
_REAL = torch.float64
_INF = math.inf
_MOST_POINTS = 1 << 31


@dataclass(frozen=True, eq=False)
class PointsResult:
    """Solution of transport between two point clouds.

    Attributes
    ----------
    cost, regularized_cost : Tensor, shape ()
        As in :class:`wbm_ext.SinkhornResult`; connected to x, y, a and b.
    f, g : Tensor of float64, shape (n,) and (m,)
        Potentials, P_ij = exp((f_i + g_j - D_ij)/ε); -inf where the mass is 0. No gradient.
    transported_mass : float
        Σ P.
    residual : float
        Of the plan delivered, as in :class:`wbm_ext.SinkhornResult`, with twice ``left_out`` (over the mass) in it: an
        upper bound, whatever pruning has not looked at.
    left_out : float
        Bound of the plan's mass on pairs that were not looked at; 0 by the road of the matrix.
    iterations : int
        Passes over the plan (of the points themselves, not of the coarse levels before).
    status : int
        Bits of :class:`wbm_ext.Status`.
    epsilon : float
        The ε that was used.
    road : {"matrix", "points"}
        Which way the call took.
    """

    cost: Tensor
    regularized_cost: Tensor
    f: Tensor
    g: Tensor
    transported_mass: float
    residual: float
    left_out: float
    iterations: int
    status: int
    epsilon: float
    road: str
    _source: Any = field(repr=False)  # a CloudSolution, or the SinkhornResult
    _cost: _Cost = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether ``residual`` came down to ``tol``."""
        return bool(self.status & Status.CONVERGED)

    def status_text(self) -> str:
        """The status in words."""
        return describe(self.status)

    @property
    def plan(self) -> PointsPlan:
        """The transport plan as an operator: ``plan @ v``, ``plan.T @ u``, ``plan.rows(indices)``."""
        return PointsPlan(self, transposed=False)

    def potential(self, z: Tensor, side: Literal["x", "y"] = "x") -> Tensor:
        """The dual potential of one side as a function, at new points.

        φ(z) = -λ log Σ_j exp((g_j - D(z, y_j))/ε) for ``side="x"``, λ = εκ/(ε + κ) (ε where κ = inf), and with f and x
        for ``side="y"``. At the points of the cloud itself f_i = φ(x_i) + s log a_i, s = λ (entropy reference) or ε
        (product).

        Parameters
        ----------
        z : Tensor, shape (count, d)

        Returns
        -------
        Tensor of float64, shape (count,)
        """
        check_name("side", side, ("x", "y"))
        z = _points("z", z, self._cost.x)
        other, potential = (self._cost.y, self.g) if side == "x" else (self._cost.x, self.f)
        out = torch.empty(len(z), dtype=_REAL, device=z.device)
        if not isinstance(self._source, SinkhornResult):
            given = in_memory("z", z.detach(), _REAL)
            if len(z):
                self._source.extend(given.data_ptr(), len(z), side == "y", out.data_ptr(), torch.get_num_threads())
            return out
        kappa = self._cost.kappa[0 if side == "x" else 1]
        strength = self.epsilon if kappa == _INF else self.epsilon * kappa / (self.epsilon + kappa)
        exponents = (potential - self._cost.matrix(z.detach().to(_REAL), other.detach().to(_REAL))) / self.epsilon
        return -strength * exponents.logsumexp(-1)


class PointsPlan:
    """A transport plan between two clouds that is evaluated when it is used."""

    def __init__(self, result: PointsResult, transposed: bool) -> None:
        self._result, self._transposed = result, transposed

    @property
    def shape(self) -> tuple[int, int]:
        n, m = len(self._result.f), len(self._result.g)
        return (m, n) if self._transposed else (n, m)

    @property
    def T(self) -> PointsPlan:
        return PointsPlan(self._result, not self._transposed)

    def __matmul__(self, v: Tensor) -> Tensor:
        """P v for v of shape (m,) or (m, k), float64; no gradient."""
        if not isinstance(v, Tensor) or v.dim() not in (1, 2) or len(v) != self.shape[1]:
            got = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
            raise ValueError(f"v must be a tensor of shape ({self.shape[1]},) or ({self.shape[1]}, k), got {got}")
        source = self._result._source
        if isinstance(source, SinkhornResult):
            plan = source.detach().plan.to(_REAL)
            return (plan.T if self._transposed else plan) @ v.to(_REAL)
        columns = in_memory("v", v.detach().reshape(len(v), -1).T, _REAL)
        out = torch.empty((len(columns), self.shape[0]), dtype=_REAL, device="cpu")
        for column, target in zip(columns, out, strict=True):
            source.product(column.data_ptr(), self._transposed, target.data_ptr(), torch.get_num_threads())
        return out[0] if v.dim() == 1 else out.T

    def rows(self, indices: Tensor) -> Tensor:
        """Rows of the plan, shape (len(indices), m), float64; no gradient."""
        result = self._result
        x, y, f, g = result._cost.x, result._cost.y, result.f, result.g
        if self._transposed:
            x, y, f, g = y, x, g, f
        exponents = f[indices, None] + g - result._cost.matrix(x.detach()[indices].to(_REAL), y.detach().to(_REAL))
        return torch.where(f[indices, None] + g > -_INF, exponents / result.epsilon, -_INF).exp()

    def barycentres(self) -> Tensor:
        """Where each point is sent on average, Σ_j P_ij y_j / Σ_j P_ij: (n, d), float64; NaN where the mass is 0."""
        y = (self._result._cost.x if self._transposed else self._result._cost.y).detach().to(_REAL)
        own = self._result.f if self._transposed else self._result.g
        y = torch.where(own[:, None] > -_INF, y, 0.0)  # padding may hold anything
        sums = self @ torch.cat([torch.ones_like(y[:, :1]), y], dim=1)
        return sums[:, 1:] / sums[:, :1]


@dataclass(frozen=True)
class _Cost:
    """|x_i - y_j|^p and the strengths of the marginals."""

    x: Tensor
    y: Tensor
    p: int
    kappa: tuple[float, float]

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.square() if self.p == 2 else distances


class _ConnectPoints(torch.autograd.Function):
    """The two costs of a solve, connected to points and masses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, source: Any) -> tuple[Tensor, ...]:
        ctx.source = source
        ctx.like = [(t.shape, t.dtype) for t in (x, y, a, b)]
        return tuple(torch.tensor(value, dtype=x.dtype, device="cpu") for value in source.report()[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sharp: Tensor, regularized: Tensor) -> tuple[Any, ...]:
        outs = [
            torch.empty(shape, dtype=_REAL, device="cpu") if needed else None
            for (shape, _), needed in zip(ctx.like, ctx.needs_input_grad[:4], strict=True)
        ]
        where = tuple(0 if out is None else out.data_ptr() for out in outs)
        reached = ctx.source.gradient(float(sharp), float(regularized), where, torch.get_num_threads())
        if reached > FAITHFUL:
            warn_of_backward(reached, FAITHFUL)
        return *[
            None if out is None else out.to(kind) for out, (_, kind) in zip(outs, ctx.like, strict=True)
        ], None  # fmt: skip


def _points(name: str, value: object, like: Tensor | None = None) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided or value.dtype not in (torch.float32, _REAL):
        raise TypeError(f"{name} must be a dense tensor of float32 or float64, got {value.dtype}, {value.layout}")
    if value.dim() != 2 or 0 in value.shape[1:]:
        raise ValueError(f"{name} must have shape (points, d) with d >= 1, got {tuple(value.shape)}")
    if like is not None and value.shape[1] != like.shape[1]:
        raise ValueError(f"{name} must have points of {like.shape[1]} coordinates, got {value.shape[1]}")
    if like is not None and value.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, the device of x; got {value.device}")
    return value


def _masses(name: str, mass: object, points: Tensor, of: str) -> Tensor:
    if mass is None:
        mass = torch.full((len(points),), 1.0 / len(points), dtype=points.dtype, device=points.device)
    if not isinstance(mass, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(mass).__name__}")
    if not mass.dtype.is_floating_point or mass.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor of a floating-point type, got {mass.dtype}, {mass.layout}")
    if mass.shape != points.shape[:1]:
        raise ValueError(f"{name} must have shape ({len(points)},), one mass a point of {of}; got {tuple(mass.shape)}")
    if mass.device != points.device:
        raise ValueError(f"{name} must be on {points.device}, the device of {of}; got {mass.device}")
    values = mass.detach()
    if not bool((values >= 0).all()) or not bool(values.isfinite().all()):
        raise ValueError(f"{name} must hold finite masses >= 0")
    if not bool((values > 0).any()):
        raise ValueError(f"{name} must hold some positive mass, all are 0")
    spoiled = ~points.detach().isfinite().all(1) & (values > 0)
    if bool(spoiled.any()):
        row = int(spoiled.nonzero()[0])
        raise ValueError(f"{of} must hold finite coordinates where the mass is positive; row {row} does not")
    return mass


def _strengths(kappa: Any) -> tuple[float, float]:
    pair = kappa if isinstance(kappa, tuple) and len(kappa) == 2 else (kappa, kappa)
    for value in pair:
        if isinstance(value, Tensor) and value.requires_grad:
            raise NotImplementedError("kappa has no gradient between points; use wbm_ext.solve on a matrix")
    return tuple(positive_number("kappa", float(v) if isinstance(v, Tensor) else v, infinite=True) for v in pair)  # type: ignore[return-value]


def solve_points(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    p: Literal[1, 2] = 2,
    epsilon: float | None = None,
    kappa: float | tuple[float, float] = _INF,
    reference: Literal["entropy", "product"] = "entropy",
    tol: float = 1e-6,
    max_iter: int = 1000,
    road: Literal["auto", "matrix", "points"] = "auto",
    memory: int = 384 << 20,
) -> PointsResult:
    """Entropic optimal transport between two point clouds, without a matrix where there are many points.

    The problem is that of :func:`wbm_ext.solve` with D_ij = |x_i - y_j|^p:

        min over P ≥ 0 of  ⟨D, P⟩ - ε H(P) + κ₁ KL(P1 | a) + κ₂ KL(Pᵀ1 | b);   κ = inf: P1 = a, Pᵀ1 = b.

    Parameters
    ----------
    x, y : Tensor of float32 or float64, shape (n, d) and (m, d)
        Points; those of mass 0 may hold anything, also NaN.
    a, b : Tensor, shape (n,) and (m,), optional
        Masses ≥ 0; uniform with total 1 where not given. With both marginals hard totals may differ by 1e-3 relative,
        and b is rescaled.
    p : {2, 1}
        2: squared Euclidean distances, 1: Euclidean ones.
    epsilon : float, optional
        Entropic strength, units of D (GeomLoss: ``blur ** p``, twice that for its p = 2, whose cost is halved).
        Default: 0.05 × the mean of D over pairs with positive masses.
    kappa : float or pair of floats (rows, columns)
        Strength of mass preservation, units of D; inf is a hard marginal.
    reference : {"entropy", "product"}
        As in :func:`wbm_ext.solve`.
    tol : float
        On the residual, the bound of what was not looked at included.
    max_iter : int
        Passes over the plan of the points themselves.
    road : {"auto", "matrix", "points"}
        "auto" makes the matrix up to 4,194,304 pairs, on CUDA and with ``WBM_BACKEND=reference``; "points" never does.
    memory : int
        Bytes of plan entries that may be stored on the road of the points; where they do not suffice, entries are
        evaluated again at every pass.

    Returns
    -------
    PointsResult
        ``cost`` and ``regularized_cost`` carry gradients in x, y, a and b (implicit, one linear system; first order
        only; by the road of the points exact to about 1e-6). At a mass of 0 that road's gradient is 0.

    Raises
    ------
    TypeError, ValueError
        Naming argument, expected and got, before any work.
    NotImplementedError
        ε or κ that require a gradient, and "points" without the CPU kernels.

    Warns
    -----
    ConvergenceWarning
        Once per call site, with the residual and the remedy, when it ends above ``tol``.

    Notes
    -----
    Up to 8 dimensions boxes of a k-d tree prune the pairs, and memory grows with the pairs that carry mass; beyond,
    every pair is evaluated at every pass, in O((n + m) d) memory. Distances are sums of squared differences in float64
    on the road of the points.

    References
    ----------
    Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems", 2019: from coarse to
    fine, with a truncated, stabilised kernel. Newton's method with a two-level preconditioner takes the place of its
    iterations here.

    Examples
    --------
    >>> import torch, wbm_ext
    >>> x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> result = wbm_ext.solve_points(x, x + 3.0, epsilon=0.01, road="points")
    >>> result.converged, round(float(result.regularized_cost - result.cost), 3) < 0
    (True, True)
    >>> bool(((result.plan @ torch.ones(300)) - 1 / 300).abs().max() < 1e-6)
    True
    """
    x, y = _points("x", x), _points("y", y, x)
    for name, points in (("x", x), ("y", y)):
        if not 0 < len(points) < _MOST_POINTS:
            raise ValueError(f"{name} must hold between 1 and {_MOST_POINTS - 1} points, got {len(points)}")
    if x.dtype != y.dtype:
        raise TypeError(f"y must be {x.dtype}, the type of x; got {y.dtype}")
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p!r}")
    check_name("reference", reference, REFERENCES)
    check_name("road", road, ROADS)
    if isinstance(epsilon, Tensor):
        if epsilon.requires_grad:
            raise NotImplementedError("epsilon has no gradient between points; use wbm_ext.solve on a matrix")
        epsilon = float(epsilon)
    if epsilon is not None:
        epsilon = positive_number("epsilon", epsilon, infinite=False)
    kappas = _strengths(kappa)
    tol = positive_number("tol", tol, infinite=False)
    if not isinstance(max_iter, int) or max_iter < 1:
        raise ValueError(f"max_iter must be an int >= 1, got {max_iter!r}")
    if not isinstance(memory, int) or memory < 0:
        raise ValueError(f"memory must be a number of bytes >= 0, got {memory!r}")
    a, b = _masses("a", a, x, "x"), _masses("b", b, y, "y")
    totals = float(a.detach().sum(dtype=_REAL)), float(b.detach().sum(dtype=_REAL))
    if kappas == (_INF, _INF) and abs(totals[0] - totals[1]) > 1e-3 * max(totals):
        raise ValueError(f"hard marginals need a and b of the same total; got {totals[0]:.6g} and {totals[1]:.6g}")
    able = BACKEND == "native" and x.device.type == "cpu"
    if road == "points" and not able:
        raise NotImplementedError('road="points" needs the CPU kernels and points on the CPU; use road="matrix"')
    cost = _Cost(x, y, p, kappas)
    if road == "matrix" or not able or (road == "auto" and x.shape[0] * y.shape[0] <= MATRIX_ENTRIES):
        return _by_matrix(cost, a, b, epsilon, reference, tol, max_iter)
    return _by_points(cost, a, b, epsilon, reference, tol, max_iter, memory)


def _by_matrix(
    cost: _Cost, a: Tensor, b: Tensor, epsilon: float | None, reference: ReferenceName, tol: float, max_iter: int
) -> PointsResult:
    # padding may hold anything
    x, y = (torch.where(m.detach()[:, None] > 0, z, 0.0) for z, m in ((cost.x, a), (cost.y, b)))
    found = solve(
        cost.matrix(x, y), a.to(x.dtype), b.to(x.dtype), epsilon=epsilon, kappa=cost.kappa, reference=reference,
        tol=tol, max_iter=max_iter,
    )  # fmt: skip
    plain = found.detach()
    return PointsResult(
        found.cost, found.regularized_cost, plain.f.to(_REAL), plain.g.to(_REAL), float(plain.transported_mass),
        float(plain.residual), 0.0, int(plain.iterations), int(plain.status), float(plain.epsilon), "matrix", found,
        cost,
    )  # fmt: skip


def _by_points(
    cost: _Cost,
    a: Tensor,
    b: Tensor,
    epsilon: float | None,
    reference: ReferenceName,
    tol: float,
    max_iter: int,
    memory: int,
) -> PointsResult:
    given = [in_memory(name, t.detach(), _REAL) for name, t in (("x", cost.x), ("y", cost.y), ("a", a), ("b", b))]
    numbers = (*(t.data_ptr() for t in given), len(cost.x), len(cost.y), cost.x.shape[1])
    used = 0.05 * core.mean_cloud_cost(numbers, cost.p == 1) if epsilon is None else epsilon
    if not used > 0:
        raise ValueError("epsilon must be given: its default, 0.05 times the mean cost, is 0 for points that all agree")

    how = (used, *cost.kappa, REFERENCES[reference], cost.p == 1, tol, max_iter, memory, torch.get_num_threads())
    source = core.solve_clouds(numbers, how)
    sharp, regularized = _ConnectPoints.apply(cost.x, cost.y, a, b, source)  # type: ignore[no-untyped-call]
    _, _, mass, residual, left_out, iterations, status = source.report()
    f, g = (torch.empty(len(t), dtype=_REAL, device="cpu") for t in (cost.x, cost.y))
    source.potentials(f.data_ptr(), g.data_ptr())
    if not status & Status.CONVERGED:
        warn_once(
            ConvergenceWarning(
                f"transport between {len(cost.x)} and {len(cost.y)} points ended at a residual of {residual:.2e} > "
                f"tol = {tol:.0e} ({describe(status)}); raise max_iter, epsilon or tol"
            )
        )
    return PointsResult(
        sharp, regularized, f, g, mass, residual, left_out, iterations, status, used, "points", source, cost
    )  # fmt: skip
