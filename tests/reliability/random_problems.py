"""Random batches that cover what users may hand in, and what a solution must fulfil, written once more in numpy.

A group is one call: problems of one shape, type and reference, each with its own cost, masses, epsilon and kappa.
Group k of seed s is always the same, so that a failure names its reproducer: ``make_group(s, k)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import wbm_ext

Array = NDArray[np.float64]
PROBLEMS_PER_GROUP = 10
COSTS = ("distances", "uniform", "heavy tailed", "binary", "integers", "signed", "constant", "duplicated points")
MASSES = ("uniform", "dirichlet", "log-normal", "tiny", "zeros")


@dataclass
class Group:
    """One call of ``wbm_ext.solve`` and what is known of it beforehand."""

    name: str
    D: Tensor
    a: Tensor
    b: Tensor
    epsilon: Tensor
    kappa: tuple[Tensor, Tensor]
    mask: Tensor | None
    mean: Array  # mean |D| over admissible pairs, before the offset
    options: dict[str, object]
    notes: list[str] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)  # D, a, b of the last solve with gradients

    @property
    def tol(self) -> float:
        return float(self.options["tol"])  # type: ignore[arg-type]

    @property
    def dtype(self) -> str:
        return str(self.D.dtype).removeprefix("torch.")

    @property
    def ratio(self) -> Array:
        """Epsilon over the mean cost."""
        return self.epsilon.numpy() / self.mean

    @property
    def reference(self) -> str:
        return str(self.options["reference"])

    def about(self, p: int) -> str:
        kappa = tuple(float(k[p]) for k in self.kappa)
        return (
            f"{self.name}, problem {p}: {tuple(self.D.shape[1:])} {self.D.dtype}, {self.notes[p]}, "
            f"epsilon {float(self.epsilon[p]):.3g}, kappa {kappa}, mean {self.mean[p]:.3g}, {self.options}"
        )

    def select(self, chosen: Tensor) -> Group:
        """The problems where ``chosen`` is True."""
        keep = chosen.nonzero()[:, 0].tolist()
        return replace(
            self,
            D=self.D[chosen],
            a=self.a[chosen],
            b=self.b[chosen],
            epsilon=self.epsilon[chosen],
            kappa=(self.kappa[0][chosen], self.kappa[1][chosen]),
            mask=None if self.mask is None else self.mask[chosen],
            mean=self.mean[keep],
            notes=[self.notes[p] for p in keep],
        )

    def reordered(self, order: str, rng: np.random.Generator) -> Group:
        """The same problems with rows and columns permuted, or exchanged."""
        if order == "transposed":
            mask = None if self.mask is None else self.mask.transpose(1, 2)
            return replace(self, D=self.D.transpose(1, 2), a=self.b, b=self.a, kappa=self.kappa[::-1], mask=mask)
        rows, columns = (torch.as_tensor(rng.permutation(x)) for x in self.D.shape[1:])
        mask = None if self.mask is None else self.mask[:, rows][:, :, columns]
        return replace(self, D=self.D[:, rows][:, :, columns], a=self.a[:, rows], b=self.b[:, columns], mask=mask)

    def solve(self, *, gradients: bool = False, **changes: object) -> wbm_ext.SinkhornResult:
        D, a, b = self.D, self.a, self.b
        if gradients:
            self.leaves = D, a, b = [x.detach().clone().requires_grad_() for x in (D, a, b)]
        options = {"mask": self.mask, "epsilon": self.epsilon, "kappa": self.kappa, **self.options, **changes}
        return wbm_ext.solve(D, a, b, **options)  # type: ignore[arg-type]


def _size(rng: np.random.Generator, largest: int) -> int:
    return 1 + int(largest * rng.random() ** 5)


def _cost(rng: np.random.Generator, kind: str, n: int, m: int) -> Array:
    dimension = int(rng.integers(1, 9))
    x, y = rng.normal(size=(n, dimension)), rng.normal(size=(m, dimension)) + rng.normal()
    if kind == "duplicated points":
        x, y = x[rng.integers(0, max(n // 3, 1), n)], x[rng.integers(0, n, m)]
    squared = ((x[:, None] - y[None]) ** 2).sum(2)
    return {
        "distances": np.sqrt(squared) if rng.random() < 0.5 else squared,
        "duplicated points": squared,
        "uniform": rng.random((n, m)),
        "heavy tailed": rng.lognormal(0.0, 2.0, (n, m)),
        "binary": (rng.random((n, m)) < 0.5).astype(float),
        "integers": rng.integers(0, 6, (n, m)).astype(float),
        "signed": rng.normal(size=(n, m)),
        "constant": np.full((n, m), rng.choice([0.0, 1.0])),
    }[kind]


def _mass(rng: np.random.Generator, kind: str, size: int) -> Array:
    mass = {
        "uniform": np.full(size, 1.0 / size),
        "dirichlet": rng.dirichlet(np.ones(size)),
        "log-normal": rng.lognormal(0.0, 1.5, size),
        "tiny": 10.0 ** rng.uniform(-12.0, 0.0, size),
        "zeros": rng.random(size) * (rng.random(size) < 0.6),
    }[kind]
    return np.asarray(mass) * 10.0 ** rng.uniform(-3.0, 3.0)


def _forbid(
    rng: np.random.Generator, allowed: NDArray[np.bool_], a: Array, b: Array, isolate: tuple[bool, bool]
) -> None:
    """Forbid pairs at random; a row or column with mass keeps a partner with mass unless its side may be isolated."""
    rows, columns = np.flatnonzero(a > 0), np.flatnonzero(b > 0)
    allowed &= rng.random(allowed.shape) < rng.uniform(0.4, 1.0)
    if not len(rows) or not len(columns):
        return
    if isolate[0] and rng.random() < 0.5:
        allowed[rng.integers(len(a))] = False
    if isolate[1] and rng.random() < 0.5:
        allowed[:, rng.integers(len(b))] = False
    if not isolate[0]:
        for i in rows[~allowed[np.ix_(rows, columns)].any(1)]:
            allowed[i, rng.choice(columns)] = True
    if not isolate[1]:
        for j in columns[~allowed[np.ix_(rows, columns)].any(0)]:
            allowed[rng.choice(rows), j] = True


def make_group(seed: int, k: int, largest: int = 300) -> Group:
    """Ten random problems of one shape."""
    rng = np.random.default_rng([seed, k])
    n, m, batch = _size(rng, largest), _size(rng, largest), PROBLEMS_PER_GROUP
    dtype = torch.float32 if rng.random() < 0.5 else torch.float64
    kind = np.float32 if dtype == torch.float32 else np.float64
    D, allowed = np.empty((batch, n, m)), np.ones((batch, n, m), dtype=bool)
    a, b = np.empty((batch, n)), np.empty((batch, m))
    epsilon, kappa, mean, notes = np.empty(batch), np.full((batch, 2), np.inf), np.empty(batch), []
    masked = rng.random() < 0.3
    for p in range(batch):
        cost, masses = str(rng.choice(COSTS)), [str(rng.choice(MASSES)) for _ in "ab"]
        D[p] = _cost(rng, cost, n, m) * 10.0 ** rng.uniform(-6.0, 6.0)
        a[p], b[p] = _mass(rng, masses[0], n).astype(kind), _mass(rng, masses[1], m).astype(kind)
        mean[p] = np.abs(D[p]).mean() or 1.0
        epsilon[p] = mean[p] * 10.0 ** rng.uniform(-4.0, 3.0)
        sides = str(rng.choice(("balanced", "hard rows", "hard columns", "unbalanced"), p=(0.35, 0.15, 0.15, 0.35)))
        if sides in ("hard columns", "unbalanced"):
            kappa[p, 0] = mean[p] * 10.0 ** rng.uniform(-3.0, 4.0)
        if sides in ("hard rows", "unbalanced"):
            kappa[p, 1] = mean[p] * 10.0 ** rng.uniform(-3.0, 4.0)
        soft = np.isfinite(kappa[p])
        # a hard side asks for partners with mass on the other one
        if not soft[0] and not b[p].any():
            b[p, 0] = 1.0
        if not soft[1] and not a[p].any():
            a[p, 0] = 1.0
        if not soft.any():
            b[p] = (b[p] * (a[p].sum() / b[p].sum())).astype(kind)
        note = f"{cost}, masses {masses[0]} and {masses[1]}, {sides}"
        if rng.random() < 0.3:
            _forbid(rng, allowed[p], a[p], b[p], (bool(soft[0]), bool(soft[1])))
            note += ", pairs forbidden"
        offset = float(rng.choice((-1e4, 1e4))) * mean[p]
        if rng.random() < 0.15 and (not soft.all() or 1e4 * mean[p] < 80 * (epsilon[p] + 2 * kappa[p].min())):
            D[p] += offset
            note += f", offset {offset:.3g}"
        # negative costs create mass where both sides are soft, exp(-D / (epsilon + kappa1 + kappa2)) times what is there
        if soft.all() and -D[p].min() > 40 * (epsilon[p] + kappa[p].sum()):
            D[p] -= D[p].min()
        notes.append(note)
    if not masked:
        D[~allowed] = np.inf
    else:
        D[~allowed] = rng.choice([np.nan, np.inf, -1e30, 0.0])  # not looked at
    method, grad = str(rng.choice(("auto", "auto", "auto", "sinkhorn"))), "implicit"
    limit = 500
    if rng.random() < 0.25:
        grad, limit = str(rng.choice(("frozen", "unrolled"))), 60
    real = {"dtype": torch.float64}
    matrix = torch.as_tensor(D.astype(kind))
    if rng.random() < 0.3:  # any strides
        matrix = matrix.transpose(1, 2).contiguous().transpose(1, 2)
    return Group(
        name=f"make_group({seed}, {k})",
        D=matrix,
        a=torch.as_tensor(a.astype(kind)),
        b=torch.as_tensor(b.astype(kind)),
        epsilon=torch.as_tensor(epsilon, **real),
        kappa=(torch.as_tensor(kappa[:, 0].copy(), **real), torch.as_tensor(kappa[:, 1].copy(), **real)),
        mask=torch.as_tensor(allowed) if masked else None,
        mean=mean,
        options={
            "reference": str(rng.choice(("entropy", "product"))),
            "method": method,
            "grad": grad,
            "tol": 1e-6 if dtype == torch.float32 else 1e-9,
            "max_iter": limit,
        },
        notes=notes,
    )


@dataclass
class Side:
    """One marginal of a batch and its plan's sums, float64."""

    mass: Array
    potential: Array
    active: NDArray[np.bool_]
    kappa: Array  # (B, 1)
    shift: Array  # (B, 1): dual potential = potential - shift log mass
    sums: Array

    @property
    def hard(self) -> NDArray[np.bool_]:
        return np.isinf(self.kappa)

    @property
    def dual(self) -> Array:
        log_mass = np.log(np.where(self.mass > 0, self.mass, 1.0))
        return np.where(self.active, np.where(self.active, self.potential, 0.0) - self.shift * log_mass, 0.0)

    @property
    def target(self) -> Array:
        """a (hard) or a exp(-dual / kappa) (soft), 0 where nothing can flow."""
        return np.where(self.active, self.mass * np.exp(np.where(self.hard, 0.0, -self.dual / self.kappa)), 0.0)

    @property
    def value(self) -> Array:
        """The dual objective's part: <a, f> (hard) or kappa <a, 1 - exp(-f / kappa)> (soft), f the dual potential."""
        with np.errstate(invalid="ignore"):
            soft = -self.kappa * self.mass * np.expm1(-self.dual / self.kappa)
        idle = np.where(self.hard, 0.0, np.where(self.hard, 1.0, self.kappa) * self.mass)  # kappa KL(0 | a), all of it
        return np.where(self.active, np.where(self.hard, self.mass * self.dual, soft), idle).sum(1)

    @property
    def gap(self) -> Array:
        """What the primal objective at P has above the dual one: <r - a, f> (hard) or kappa KL(r | r*) (soft)."""
        r = self.sums
        divergence = r * self.log_ratio - r + self.target
        soft = np.where(self.hard, 0.0, self.kappa) * np.where(self.active, divergence, 0.0)
        return np.where(self.hard, (r - self.target) * self.dual, np.where(self.hard, 0.0, soft)).sum(1)

    @property
    def slack(self) -> Array:
        size = np.where(self.hard, self.dual, np.where(self.hard, 1.0, self.kappa) * self.log_ratio)
        return np.abs(np.where(self.active & (self.hard | (self.sums > 0)), size, 0.0)).max(1)

    @property
    def log_ratio(self) -> Array:
        """log(r / r*) of a soft side, also where r* underflows; log(r / a) of a hard one."""
        return self._log_share + np.where(self.hard, 0.0, self.dual / self.kappa)

    @property
    def _log_share(self) -> Array:
        """log(r / a), 0 where either is 0."""
        both = (self.sums > 0) & (self.mass > 0)
        return np.log(np.where(both, self.sums, 1.0)) - np.log(np.where(both, self.mass, 1.0))

    @property
    def magnitude(self) -> Array:
        """Sum of the absolute values of the terms that the regularised cost adds up on this side."""
        strength = np.where(self.hard, 0.0, self.kappa)
        terms = self.sums * np.abs(self.dual) + strength * (self.mass + self.sums * (1.0 + np.abs(self._log_share)))
        return (terms + self.mass * np.where(self.hard, np.abs(self.dual), 0.0)).sum(1)


@dataclass
class Verdict:
    """What the returned potentials say, computed from the definitions alone."""

    plan: Array
    rows: Side
    columns: Side
    mass: Array
    scale: Array  # max(mass, (sum a + sum b) / 2)
    residual: Array
    sharp: Array
    dual: Array  # dual objective
    rounding: Array  # relative rounding of the plan and the targets, by the sizes of their exponents
    largest_cost: Array
    terms: Array  # sum of the absolute values of the terms of the regularised cost

    @property
    def regularized(self) -> Array:
        return self.dual + self.gap

    @property
    def slack(self) -> Array:
        """Largest |f| (hard) or |f + kappa log(r / a)| (soft): gap <= residual x scale x slack, by Hölder."""
        return np.maximum(self.rows.slack, self.columns.slack)

    @property
    def gap(self) -> Array:
        """Regularised cost at P minus the dual objective."""
        return self.rows.gap + self.columns.gap


@np.errstate(over="ignore", invalid="ignore")  # a solve may overflow, and says so
def inspect(group: Group, f: Tensor, g: Tensor) -> Verdict:
    """Plan, residual and dual objective of float64 potentials, by the formulas of the contract."""
    epsilon = group.epsilon.numpy()[:, None]
    D, a, b = (x.detach().double().numpy() for x in (group.D, group.a, group.b))
    if group.mask is not None:
        D = np.where(group.mask.numpy(), D, np.inf)
    f, g = f.detach().numpy(), g.detach().numpy()
    n, m = D.shape[1:]
    kappa = [k.numpy()[:, None] for k in group.kappa]
    both_hard = np.isinf(kappa[0]) & np.isinf(kappa[1])
    total_a, total_b = a.sum(1, keepdims=True), b.sum(1, keepdims=True)
    b = b * np.where(both_hard & (total_b > 0), total_a / np.where(total_b > 0, total_b, 1.0), 1.0)
    carries = np.isfinite(D) & (a > 0)[:, :, None] & (b > 0)[:, None, :]
    finite_f, finite_g = np.where(carries.any(2), f, 0.0), np.where(carries.any(1), g, 0.0)
    safe_D = np.where(carries, D, 0.0)
    exponent = (finite_f[:, :, None] + finite_g[:, None, :] - safe_D) / epsilon[:, :, None]
    plan = np.where(carries, np.exp(exponent), 0.0)
    shift = np.zeros_like(epsilon) if group.reference == "entropy" else epsilon
    rows = Side(a, f, carries.any(2), kappa[0], shift, plan.sum(2))
    columns = Side(b, g, carries.any(1), kappa[1], shift, plan.sum(1))
    mass = plan.sum((1, 2))
    scale = np.maximum(mass, 0.5 * (a.sum(1) + b.sum(1)))
    error = np.abs(rows.sums - rows.target).sum(1) + np.abs(columns.sums - columns.target).sum(1)
    dual = rows.value + columns.value - epsilon[:, 0] * mass
    terms = rows.magnitude + columns.magnitude + epsilon[:, 0] * mass
    if group.reference == "product":
        dual = dual + epsilon[:, 0] * a.sum(1) * b.sum(1)
        terms = terms + epsilon[:, 0] * a.sum(1) * b.sum(1)
    largest_cost = np.abs(safe_D).max((1, 2))
    size = np.maximum(np.abs(finite_f).max(1), np.abs(finite_g).max(1))
    exponents = (2 * size + largest_cost) / epsilon[:, 0]
    for side in (rows, columns):
        logs = np.abs(np.log(np.where(side.mass > 0, side.mass, 1.0))).max(1)
        strength = np.where(side.hard, np.inf, side.kappa)[:, 0]
        exponents = exponents + (np.abs(side.dual).max(1) + 2 * side.shift[:, 0] * logs + size) / strength
    return Verdict(
        plan=plan,
        rows=rows,
        columns=columns,
        mass=mass,
        scale=scale,
        residual=np.where(scale > 0, error / np.where(scale > 0, scale, 1.0), 0.0),
        sharp=(plan * safe_D).sum((1, 2)),
        dual=dual,
        rounding=2.0**-52 * (16.0 + n + m + 2 * exponents) * np.maximum(1.0, error / np.where(scale > 0, scale, 1.0)),
        largest_cost=largest_cost,
        terms=terms,
    )


CRAWLING = ("points", "heavy tailed", "lattice", "clusters", "permutation", "uniform", "integers")


@dataclass
class Single:
    """One problem of a kind on which plain iterations crawl, with the options of its solve."""

    name: str
    D: Tensor
    a: Tensor
    b: Tensor
    options: dict[str, object]

    def solve(self, **changes: object) -> wbm_ext.SinkhornResult:
        return wbm_ext.solve(self.D, self.a, self.b, **{**self.options, **changes})  # type: ignore[arg-type]


def make_crawling_problem(seed: int) -> Single:
    """Low dimensions, heavy tails, ties and clusters at epsilon from the mean cost down to a ten-thousandth of it."""
    rng = np.random.default_rng([7, seed])
    n, m = (2 + int(rng.random() ** 2 * (120 if rng.random() < 0.9 else 400)) for _ in "nm")
    if rng.random() < 0.4:
        m = n
    kind, dimension = str(rng.choice(CRAWLING)), int(rng.integers(1, 4))
    if kind in ("points", "lattice", "clusters"):
        if kind == "points":
            x, y = rng.normal(size=(n, dimension)), rng.normal(size=(m, dimension)) + 2 * rng.random()
        elif kind == "lattice":
            x, y = (rng.integers(0, 8, (k, dimension)).astype(float) for k in (n, m))
        else:
            centres = 5 * rng.normal(size=(4, dimension))
            x, y = (centres[rng.integers(0, 4, k)] + 0.1 * rng.normal(size=(k, dimension)) for k in (n, m))
        cost = ((x[:, None] - y[None]) ** 2).sum(2)
        cost = np.sqrt(cost) if rng.random() < 0.3 else cost
    elif kind == "permutation":
        cost = 1.0 + 0.2 * rng.random((n, m))
        cost[np.arange(n), rng.permutation(max(n, m))[:n] % m] = 0.0
    else:
        cost = {
            "heavy tailed": rng.lognormal(0.0, rng.uniform(1.0, 3.0), (n, m)),
            "uniform": rng.random((n, m)),
            "integers": rng.integers(0, 6, (n, m)).astype(float),
        }[kind]
    a, b = (_mass(rng, str(rng.choice(MASSES[:4])), k) for k in (n, m))
    mean, sides = (
        cost.mean() or 1.0,
        str(rng.choice(("balanced", "balanced", "unbalanced", "hard rows", "hard columns"))),
    )
    kappa = [
        mean * 10.0 ** rng.uniform(-2.0, 3.0) if sides in ("unbalanced", soft) else np.inf
        for soft in ("hard columns", "hard rows")
    ]
    single = rng.random() < 0.5
    dtype = torch.float32 if single else torch.float64
    ratio = 10.0 ** rng.uniform(-4.0, 0.0)
    options: dict[str, object] = {
        "epsilon": float(mean * ratio),
        "kappa": tuple(float(k) for k in kappa),
        "reference": str(rng.choice(("entropy", "product"))),
        "tol": 1e-6 if single else float(rng.choice((1e-6, 1e-9))),
    }
    problem = Single(
        f"make_crawling_problem({seed}): {kind}, {n} x {m}, {sides}, epsilon {ratio:.1e} of the mean, {options}",
        *(torch.as_tensor(x, dtype=dtype) for x in (cost, a / a.sum(), b / b.sum())),
        options,
    )
    if rng.random() < 0.15:
        warm = problem.solve(epsilon=2 * float(mean * ratio), max_iter=300)
        options["init"] = (warm.f.to(dtype), warm.g.to(dtype))
    return problem
