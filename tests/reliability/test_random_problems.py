"""What the solver promises, on random problems of every kind: 1,000 at once, 10,000 with the slow ones.

A failure names the group that shows it; ``make_group(seed, k).solve()`` runs it again. Formulas: with dual potentials f, g
(with the product reference less epsilon log a, epsilon log b) the dual objective is

    F(f, a) + F(g, b) - epsilon Σ P (+ epsilon Σa Σb, product),   F = <a, f> (hard) or kappa <a, 1 - exp(-f / kappa)> (soft),

and the regularised cost of P lies above it by the duality gap G(P1, f) + G(Pᵀ1, g),

    G(r, f) = <r - a, f> (hard) or kappa KL(r | a exp(-f / kappa)) (soft).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from random_problems import PROBLEMS_PER_GROUP, Array, Group, Verdict, inspect, make_group
from tolerances import REFERENCE_ITERATIONS, REFERENCE_RESIDUAL, SMALLEST_RATIO, tolerance
from torch import Tensor

import wbm_ext
from wbm_ext import Status
from wbm_ext.solver.problem import AUTO, IMPLICIT, MARGINAL, REFERENCES, Options, Problem
from wbm_ext.solver.reference import iteration as oracle
from wbm_ext.solver.status import REFUSED

GROUPS_PER_SEED = 10
FAST, ALL = 10, 101  # seeds
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= FAST else []) for seed in range(ALL)]
REASONS = int(Status.ITERATION_LIMIT | Status.STAGNATED | Status.OVERFLOW)
ROUNDING = {"float32": 2.0**-23, "float64": 2.0**-52}
TINY = 1e-37  # float32 costs below it are subnormal


@dataclass
class Solved:
    group: Group
    result: wbm_ext.SinkhornResult
    verdict: Verdict
    gradients: dict[str, Tensor]

    @property
    def converged(self) -> np.ndarray:
        return self.result.converged.numpy()

    @property
    def overflowed(self) -> np.ndarray:
        return (self.result.status & int(Status.OVERFLOW)).bool().numpy()


def solve(group: Group) -> Solved:
    """Solve with gradients of everything that has one: costs, f and g, with random upstream gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
        result = group.solve(gradients=True)
        outputs = [result.cost, result.regularized_cost, result.f, result.g]
        rng = torch.Generator().manual_seed(0)
        upstream = [torch.randn(x.shape, generator=rng, dtype=x.dtype) for x in outputs]
        derivatives = torch.autograd.grad(outputs, group.leaves, upstream, retain_graph=True)
    gradients = dict(zip("Dab", derivatives, strict=True))
    return Solved(group, result, inspect(group, result._f, result._g), gradients)


@pytest.fixture(scope="module", params=SEEDS)
def solved(request: pytest.FixtureRequest) -> Iterator[list[Solved]]:
    """A seed's groups; on one thread but for the first two seeds, so that tests side by side do not wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if request.param < 2 else 1)
    yield [solve(make_group(request.param, k)) for k in range(GROUPS_PER_SEED)]
    torch.set_num_threads(threads)


def wrong(solved: list[Solved], find: object) -> list[str]:
    """A line for each problem that ``find(s)`` has True for."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [s.group.about(int(p)) for s in solved for p in np.flatnonzero(find(s))]  # type: ignore[operator]


def single_rounding(s: Solved) -> float:
    """A float32 problem reports the sums of its float32 kernel: three roundings of an entry."""
    return 3 * 2.0**-24 if s.group.dtype == "float32" else 0.0


def per_problem(x: Tensor) -> np.ndarray:
    return x.detach().reshape(len(x), -1).numpy()


def numbers(values: Tensor, allowed: Tensor | None = None) -> np.ndarray:
    """Per problem: every entry is finite or ``allowed`` to be otherwise."""
    fine = torch.isfinite(values) if allowed is None else torch.isfinite(values) | allowed
    return per_problem(fine).all(1)


def test_there_are_ten_thousand_problems():
    assert FAST * GROUPS_PER_SEED * PROBLEMS_PER_GROUP == 1000
    assert ALL * GROUPS_PER_SEED * PROBLEMS_PER_GROUP >= 10_000


def test_every_output_is_a_number(solved):
    """-inf stands in f, g where the mass is zero and nowhere else; a solve that overflowed says so."""

    def find(s: Solved) -> np.ndarray:
        r, g = s.result, s.group
        fine = numbers(r.f, (g.a == 0) & (r.f == -torch.inf)) & numbers(r.g, (g.b == 0) & (r.g == -torch.inf))
        for x in (r.cost, r.regularized_cost, r.plan, r.residual, r.transported_mass):
            fine &= numbers(x, torch.as_tensor(s.overflowed).view(-1, *[1] * (x.dim() - 1)) & ~x.isnan())
        return ~fine

    assert not wrong(solved, find)


def test_every_gradient_is_a_number(solved):
    """Finite for every pair and every positive mass; the slope at a zero mass may be beyond the type's range."""

    def find(s: Solved) -> np.ndarray:
        d = s.gradients
        fine = numbers(d["D"]) & numbers(d["a"], (s.group.a == 0) & ~d["a"].isnan())
        return ~(fine & numbers(d["b"], (s.group.b == 0) & ~d["b"].isnan()))

    assert not wrong([s for s in solved if not s.overflowed.any()], find)


def test_the_gradient_of_the_regularised_cost_is_the_plan(solved):
    """Envelope theorem: at the solution only D itself counts."""

    def find(s: Solved) -> np.ndarray:
        if s.group.options["grad"] == "unrolled":  # true at the fixed point only
            return np.zeros(len(s.converged), dtype=bool)
        (slope,) = torch.autograd.grad(s.result.regularized_cost.sum(), s.group.leaves[:1], retain_graph=True)
        limit = (8 * ROUNDING[s.group.dtype] + s.verdict.rounding)[:, None, None] * s.verdict.plan
        same = np.abs(slope.double().numpy() - s.verdict.plan) <= limit + TINY
        return ~(same.reshape(len(same), -1).all(1) | s.overflowed)

    assert not wrong(solved, find)


def test_a_solve_says_whether_it_converged_and_if_not_why(solved):
    def find(s: Solved) -> np.ndarray:
        status = s.result.status
        reason, refused = (status & REASONS).bool().numpy(), (status & int(REFUSED)).bool().numpy()
        met = s.result.residual.numpy() <= s.group.tol
        limit = s.result.iterations.numpy() <= s.group.options["max_iter"]
        return ~((met == s.converged) & (reason == ~s.converged) & ~refused & limit)

    assert not wrong(solved, find)


def test_most_problems_converge(solved):
    """Plain iterations need more than the limit at small epsilon; that is the minority."""
    assert np.mean([s.converged.mean() for s in solved]) > 0.6


def test_the_residual_is_that_of_the_potentials_returned(solved):
    def find(s: Solved) -> np.ndarray:
        same = np.abs(s.result.residual.numpy() - s.verdict.residual) <= s.verdict.rounding + single_rounding(s)
        return ~(same | s.overflowed)

    assert not wrong(solved, find)


def test_both_costs_are_those_of_the_plan_delivered(solved):
    """The sharp cost, and the regularised one as dual objective plus gap."""

    def find(s: Solved) -> np.ndarray:
        v, unit = s.verdict, ROUNDING[s.group.dtype]
        fine = np.ones(len(s.converged), dtype=bool)
        for got, expected, size in (
            (s.result.cost, v.sharp, v.scale * v.largest_cost),
            (s.result.regularized_cost, v.regularized, v.terms),
        ):
            error = np.abs(got.detach().double().numpy() - expected)
            fine &= error <= (v.rounding + single_rounding(s)) * size + unit * np.abs(expected) + TINY
        return ~(fine | s.overflowed)

    assert not wrong(solved, find)


def test_the_duality_gap_is_closed(solved):
    """Of every converged problem, whatever its epsilon: residual × mass × the largest potential bounds it."""

    def find(s: Solved) -> np.ndarray:
        v = s.verdict
        cost = s.result.regularized_cost.detach().double().numpy()
        size = (v.rounding + single_rounding(s)) * v.terms + ROUNDING[s.group.dtype] * np.abs(cost) + TINY
        return s.converged & ~(np.abs(cost - v.dual) <= s.group.tol * v.scale * v.slack + size)

    assert not wrong(solved, find)


def reference_solution(group: Group) -> Verdict:
    with torch.no_grad():
        D, a, b, kappa = group.D.double(), group.a.double(), group.b.double(), torch.stack(group.kappa, 1)
        _, _, f, g, _, _ = oracle.solve(
            Problem(D, a, b, group.epsilon, kappa, group.mask, REFERENCES[group.reference]),
            Options(AUTO, MARGINAL, IMPLICIT, 0.1 * REFERENCE_RESIDUAL, REFERENCE_ITERATIONS, None),
        )
    return inspect(group, f, g)


def errors(s: Solved, chosen: Tensor, expected: Verdict) -> Iterator[tuple[str, Array]]:
    """Cost, regularised cost and plan against the reference, as tolerances.py has them."""
    v = inspect(s.group.select(chosen), s.result._f[chosen], s.result._g[chosen])
    duals = np.maximum(np.abs(expected.rows.dual).max(1), np.abs(expected.columns.dual).max(1))
    for name, difference, size in (
        ("cost", s.result.cost[chosen].detach().double().numpy() - expected.sharp, v.scale * v.largest_cost),
        (
            "regularized_cost",
            s.result.regularized_cost[chosen].detach().double().numpy() - expected.regularized,
            v.terms + v.scale * duals,
        ),
        ("plan", np.abs(v.plan - expected.plan).sum((1, 2)), v.scale),
    ):
        yield name, np.abs(difference) / np.maximum(size, TINY)


def test_values_agree_with_a_long_reference(solved):
    compared, lines = 0, []
    for s in solved[::3]:
        chosen = s.result.converged & torch.as_tensor(s.group.ratio >= SMALLEST_RATIO)
        if s.group.D[0].numel() > 2500 or not chosen.any():
            continue
        group = s.group.select(chosen)
        expected = reference_solution(group)
        trusted = expected.residual <= REFERENCE_RESIDUAL
        compared += int(trusted.sum())
        for name, error in errors(s, chosen, expected):
            limit = np.asarray([tolerance(group.dtype, ratio, name) for ratio in group.ratio])
            lines += [
                f"{name} off by {error[p]:.1e}: {group.about(p)}" for p in np.flatnonzero(trusted & (error > limit))
            ]
    assert not lines
    assert compared


@pytest.mark.parametrize("order", ["permuted", "transposed"])
def test_the_order_of_rows_and_columns_does_not_matter(solved, order):
    lines = []
    for k, s in enumerate(solved[::2]):
        other = s.group.reordered(order, np.random.default_rng(k))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbm_ext.ConvergenceWarning)
            result = other.solve()
        both = s.converged & result.converged.numpy() & (s.group.ratio >= SMALLEST_RATIO)
        # transposed, the other side is iterated last and rescaled: both answers lie within tol of the solution
        limit = [2 * tolerance(s.group.dtype, max(x, SMALLEST_RATIO), "cost") for x in s.group.ratio]
        error = np.abs((result.cost - s.result.cost).detach().double().numpy())
        bad = both & (error > np.asarray(limit) * s.verdict.scale * s.verdict.largest_cost + TINY)
        lines += [f"{order}, off by {error[p]:.1e}: {s.group.about(int(p))}" for p in np.flatnonzero(bad)]
    assert not lines


@pytest.mark.parametrize("seed", range(40))
def test_a_hard_side_with_an_isolated_mass_is_refused_alone(seed):
    """A typed error that names it; unvalidated, NaN with the reason, and its neighbours solved as ever."""
    rng = np.random.default_rng(seed)
    n, m, rows = int(rng.integers(2, 20)), int(rng.integers(2, 20)), bool(rng.random() < 0.5)
    D = torch.as_tensor(rng.random((3, n, m)) * 10.0 ** rng.uniform(-6, 6))
    a, b = torch.as_tensor(rng.random((3, n)) + 0.1), torch.as_tensor(rng.random((3, m)) + 0.1)
    b *= a.sum(1, keepdim=True) / b.sum(1, keepdim=True)
    kappa = (torch.inf, float(D.mean())) if rows else (float(D.mean()), torch.inf)
    if rng.random() < 0.3:
        kappa = (torch.inf, torch.inf)
    mask = torch.ones(3, n, m, dtype=torch.bool)
    way, index = str(rng.choice(("mask", "inf"))), int(rng.integers(n if rows else m))
    isolated = (1, index) if rows else (1, slice(None), index)
    (mask if way == "mask" else D)[isolated] = False if way == "mask" else torch.inf
    options = {"epsilon": torch.full((3,), float(D[0].mean())), "kappa": kappa, "mask": mask if way == "mask" else None}
    with pytest.raises(ValueError, match=f"{'row' if rows else 'column'} {index} of D has mass"):
        wbm_ext.solve(D, a, b, **options)
    result = wbm_ext.solve(D, a, b, validate="none", **options)
    assert int(result.status[1]) & Status.ISOLATED
    assert not bool(result.converged[1])
    assert bool(result.cost[1].isnan())
    for p in (0, 2):
        part = {"epsilon": options["epsilon"][p], "kappa": kappa, "mask": mask[p] if way == "mask" else None}
        alone = wbm_ext.solve(D[p], a[p], b[p], **part)
        assert torch.equal(result.plan[p], alone.plan)
        assert float(result.cost[p]) == float(alone.cost)
