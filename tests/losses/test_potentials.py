"""The potentials cache: same solution, a better start, whatever is known of the batch."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
import torch

import wbm_ext
from problems import CASE_IDS, CASES, random_problem
from wbm_ext import losses
from wbm_ext.losses import PotentialsCache

TIGHT = {"epsilon": 0.5, "tol": 1e-10, "max_iter": 20_000, "method": "sinkhorn"}
ROWS, COLUMNS = torch.arange(9), torch.arange(7)


def _solved(kind: str, reference: str):
    p = random_problem(kind)
    return p, wbm_ext.solve(p.D, p.a, p.b, kappa=p.kappa, reference=reference, **TIGHT)


def _filled(p, reference: str, f=ROWS, g=COLUMNS):
    """A cache that knows the potentials of rows ``f`` and columns ``g`` at the solution."""
    cache = PotentialsCache(9, 7)
    cache.solve(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, kappa=p.kappa, reference=reference, **TIGHT)
    for kept, known in ((cache.f, f), (cache.g, g)):
        forget = torch.ones(len(kept), dtype=torch.bool)
        forget[known] = False
        kept[forget] = torch.nan
    return cache


@pytest.mark.parametrize(("kind", "reference"), CASES, ids=CASE_IDS)
def test_a_known_batch_stops_at_once_at_the_same_solution(kind, reference):
    p, cold = _solved(kind, reference)
    cache = _filled(p, reference)
    warm = cache.solve(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, kappa=p.kappa, reference=reference, **TIGHT)
    assert int(warm.iterations) == 1 < int(cold.iterations)
    torch.testing.assert_close(warm.plan, cold.plan, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("kind", "reference"), CASES, ids=CASE_IDS)
def test_unseen_columns_get_the_exact_potential_from_all_rows(kind, reference):
    """At the solution one half-update from f gives back g, for every column and every form of the problem."""
    p, cold = _solved(kind, reference)
    cache = _filled(p, reference, g=COLUMNS[:0])
    _, g = cache.init(
        p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, epsilon=TIGHT["epsilon"], kappa=p.kappa, reference=reference
    )
    torch.testing.assert_close(g, cold.g, atol=1e-7, rtol=0)


@pytest.mark.parametrize(("kind", "reference"), CASES, ids=CASE_IDS)
def test_unseen_rows_get_the_exact_potential_from_all_columns(kind, reference):
    """No row known and one column new: rows by a half-update from the others, the new column from the rows."""
    p = random_problem(kind)
    b = p.b.clone()
    b[6] = 0  # the sum over the known columns is then the whole sum
    a = p.a * b.sum() / p.a.sum() if p.both_hard else p.a
    part = wbm_ext.solve(p.D, a, b, kappa=p.kappa, reference=reference, **TIGHT)
    cache = PotentialsCache(9, 7)
    cache.update(part, a, b, rows=ROWS, columns=COLUMNS, kappa=p.kappa, reference=reference)
    cache.f.fill_(torch.nan)
    f, g = cache.init(
        p.D, a, b, rows=ROWS, columns=COLUMNS, epsilon=TIGHT["epsilon"], kappa=p.kappa, reference=reference
    )
    torch.testing.assert_close(f, part.f, atol=1e-7, rtol=0)
    torch.testing.assert_close(g[:6], part.g[:6], atol=1e-7, rtol=0)
    assert bool(g.isfinite().all())


@pytest.mark.parametrize(
    "known", [(3, 0), (0, 3), (3, 3), (9, 3), (0, 6), (0, 0)], ids=lambda k: f"{k[0]} rows, {k[1]} columns"
)
@pytest.mark.parametrize(("kind", "reference"), CASES, ids=CASE_IDS)
def test_partial_knowledge_leads_to_the_same_solution(kind, reference, known):
    p, cold = _solved(kind, reference)
    cache = _filled(p, reference, f=ROWS[: known[0]], g=COLUMNS[: known[1]])
    warm = cache.solve(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, kappa=p.kappa, reference=reference, **TIGHT)
    torch.testing.assert_close(warm.plan, cold.plan, rtol=1e-7, atol=1e-12)
    assert bool(warm.converged)
    assert cache.known == (9, 7)
    if known == (0, 0):
        assert int(warm.iterations) == int(cold.iterations)


def test_the_share_of_the_known_rows_is_made_up_for():
    """D = 0 with known rows of half the mass: log Σ over them lacks log 2, and g would be ε log 2 too high."""
    cache = PotentialsCache(4, 3)
    D = torch.zeros(4, 3, dtype=torch.float64)
    result = wbm_ext.solve(D, epsilon=0.7)
    cache.update(result, rows=torch.arange(4), columns=torch.arange(3))
    cache.f[2:] = torch.nan
    cache.g.fill_(torch.nan)
    _, g = cache.init(D, rows=torch.arange(4), columns=torch.arange(3), epsilon=0.7)
    torch.testing.assert_close(g, result.g, atol=1e-9, rtol=0)


def test_balanced_potentials_of_different_batches_share_one_gauge():
    """Two halves of a fine grid, each solved alone and shifted by another constant, meet the whole grid's potentials."""
    x, y = torch.linspace(0, 1, 40).double()[:, None], torch.linspace(0.3, 1.6, 40).double()[:, None]
    D = losses.squared_distances(x, y)
    cache = PotentialsCache(40)
    even, odd, every = torch.arange(0, 40, 2), torch.arange(1, 40, 2), torch.arange(40)
    for offset, index in ((5.0, every), (0.0, even), (-3.0, odd)):
        part = wbm_ext.solve(D[index][:, index], epsilon=0.2, tol=1e-10)
        shifted = dataclasses.replace(part, _f=part._f + offset, _g=part._g - offset)
        cache.update(shifted, rows=index, columns=index)
    whole = wbm_ext.solve(D, epsilon=0.2, tol=1e-10)
    steps = cache.f - whole.f
    assert float((steps - steps.median()).abs().max()) < 0.05
    sums = cache.f[:, None] + cache.g[None, :] - whole.f[:, None] - whole.g[None, :]
    torch.testing.assert_close(sums.mean().item(), 2 * 0.2 * math.log(40), atol=0.05, rtol=0)


def test_the_mass_of_a_sample_may_change_between_batches():
    """What is kept does not hold s log b: with all masses of both sides rescaled alike the start is still exact."""
    p, _ = _solved("unbalanced", "product")
    cache = _filled(p, "product")
    expected = wbm_ext.solve(p.D, p.a, p.b, kappa=p.kappa, reference="product", **TIGHT).g
    twice = p.b * 2
    _, g = cache.init(
        p.D, p.a, twice, rows=ROWS, columns=COLUMNS, epsilon=TIGHT["epsilon"], kappa=p.kappa, reference="product"
    )
    torch.testing.assert_close(g, expected + TIGHT["epsilon"] * math.log(2), atol=1e-8, rtol=0)


def test_relaxed_potentials_are_kept_as_they_are():
    """No gauge where potentials are unique: g from the cache is g of the solve whatever stood there before."""
    p, cold = _solved("unbalanced", "entropy")
    cache = PotentialsCache(9, 7)
    cache.f.fill_(100.0)
    cache.update(cold, p.a, p.b, rows=ROWS, columns=COLUMNS, kappa=p.kappa)
    _, g = cache.init(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, epsilon=TIGHT["epsilon"], kappa=p.kappa)
    torch.testing.assert_close(g, cold.g)


def test_zero_masses_and_forbidden_pairs_leave_no_infinite_potential():
    p = random_problem("balanced")
    a, b = p.a.clone(), p.b.clone()
    a[0], b[1] = 0, 0
    b = b * a.sum() / b.sum()
    D = p.D.clone()
    D[:5, 2] = torch.inf
    cache = PotentialsCache(9, 7)
    cache.solve(D, a, b, rows=ROWS, columns=COLUMNS, epsilon=0.5)
    assert cache.known == (8, 6)
    cache.f[5:] = torch.nan  # column 2 has no admissible known row
    cache.g[2] = torch.nan
    mask = torch.rand(9, 7) > -1
    warm = cache.solve(D, a, b, rows=ROWS, columns=COLUMNS, epsilon=0.5, mask=mask, tol=1e-9)
    assert bool(warm.converged)
    assert not bool(cache.f.isinf().any() or cache.g.isinf().any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_lower_types(dtype):
    p = random_problem("balanced")
    D, a, b = p.D.to(dtype), p.a.float(), p.b.float()
    cache = PotentialsCache(9, 7)
    for _ in range(2):
        result = cache.solve(D, a, b, rows=ROWS, columns=COLUMNS, epsilon=0.5, tol=1e-5)
    assert int(result.iterations) == 1


def test_the_default_epsilon_is_that_of_a_plain_solve():
    p = random_problem("balanced")
    cache = _filled(p, "entropy", g=COLUMNS[:3])
    warm = cache.solve(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS)
    assert float(warm.epsilon) == float(wbm_ext.solve(p.D, p.a, p.b).epsilon)


def test_gradients_are_those_of_a_cold_start():
    p = random_problem("balanced")
    cache = _filled(p, "entropy", f=ROWS[:4], g=COLUMNS[:4])
    grads = []
    for run in (wbm_ext.solve, lambda *x, **o: cache.solve(*x, rows=ROWS, columns=COLUMNS, **o)):
        D = p.D.clone().requires_grad_()
        run(D, p.a, p.b, **TIGHT).cost.backward()
        grads.append(D.grad)
    torch.testing.assert_close(*grads, atol=1e-8, rtol=0)
    assert not cache.f.requires_grad


def test_state_travels():
    p = random_problem("balanced")
    cache = _filled(p, "entropy")
    other = PotentialsCache(9, 7)
    other.load_state_dict(cache.state_dict())
    for twin in (other, copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert torch.equal(twin.f, cache.f)
        assert torch.equal(twin.g, cache.g)
    other.reset()
    assert other.known == (0, 0)
    assert cache.known == (9, 7)
    assert cache.float().f.dtype == torch.float32
    assert int(cache.solve(p.D, p.a, p.b, rows=ROWS, columns=COLUMNS, epsilon=0.5, tol=1e-4).iterations) == 1


def _batch():
    rng = torch.Generator().manual_seed(0)
    phi = torch.randn(30, 3, generator=rng, dtype=torch.float64)
    treated = torch.rand(30, generator=rng) < 0.5
    return torch.full((30,), 0.4, dtype=torch.float64), treated, phi, torch.randperm(50, generator=rng)[:30]


@pytest.mark.parametrize("against", ["untreated", "all"])
def test_the_balancing_loss_takes_a_cache(against):
    q, treated, phi, index = _batch()
    cache = PotentialsCache(50)
    plain = losses.balance(q, treated, phi, against=against)
    found = [losses.balance(q, treated, phi, index, against=against, cache=cache) for _ in range(2)]
    assert int(found[0].iterations) == int(plain.iterations) > int(found[1].iterations) == 1
    torch.testing.assert_close(found[1].value, plain.value, atol=1e-6, rtol=0)
    assert set(cache.f.isfinite().nonzero().flatten().tolist()) == set(index[treated].tolist())


def test_the_relaxed_losses_take_a_cache():
    _, treated, phi, index = _batch()
    x, y, pair = phi[treated], phi[~treated], (index[treated], index[~treated])
    for run in (
        lambda cache: losses.relaxed_transport(x, y, None, None, pair, cache=cache),
        lambda cache: losses.escfr_transport(phi, treated, index=index, gamma=0, cache=cache),
    ):
        cache = PotentialsCache(50)
        found = [run(cache) for _ in range(2)]
        assert int(found[1].iterations) == 1 < int(found[0].iterations)
        torch.testing.assert_close(found[0].value, found[1].value, atol=1e-5, rtol=0)


def test_a_module_owns_its_cache():
    q, treated, phi, index = _batch()
    module = losses.WBMLoss(cache=PotentialsCache(50))
    plain = losses.WBMLoss()(q, treated, phi)
    torch.testing.assert_close(module(q, treated, phi, index), plain)
    assert module.state_dict()["cache.g"].isfinite().any()
    relaxed = losses.RMPRLoss(cache=PotentialsCache(50))
    x, y, pair = phi[treated], phi[~treated], (index[treated], index[~treated])
    torch.testing.assert_close(relaxed(x, y, index=pair), losses.rmpr(x, y))
    escfr = losses.ESCFRLoss(gamma=0.0, cache=PotentialsCache(50))
    torch.testing.assert_close(escfr(phi, treated, index=index), losses.escfr_discrepancy(phi, treated, gamma=0.0))


D97 = torch.ones(9, 7)
BAD = {
    "batch of problems": ((D97[None],), {}, ValueError, r"D must be one problem, .* got \(1, 9, 7\)"),
    "index type": ((D97,), {"rows": ROWS.double()}, TypeError, r"rows must be .* got torch.float64"),
    "index list": ((D97,), {"columns": [0] * 7}, TypeError, r"columns must be .* got list"),
    "index shape": ((D97,), {"rows": COLUMNS}, ValueError, r"rows must have shape \(9,\) .* got \(7,\)"),
    "index range": ((D97,), {"columns": COLUMNS + 1}, ValueError, r"columns must be in \[0, 7\), got 1 to 7"),
    "init": ((D97,), {"init": None}, TypeError, "init is what the cache supplies"),
}


@pytest.mark.parametrize("name", BAD)
def test_rejected_with_a_reason(name):
    arguments, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        PotentialsCache(9, 7).solve(*arguments, **({"rows": ROWS, "columns": COLUMNS} | options))


def test_sizes_and_missing_indices_are_rejected():
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        PotentialsCache(3, 0)
    with pytest.raises(TypeError, match="rows must be an int, got float"):
        PotentialsCache(3.0)
    q, treated, phi, index = _batch()
    with pytest.raises(ValueError, match=r"index must be a tensor of shape \(30,\)"):
        losses.wbm(q, treated, phi, cache=PotentialsCache(50))
    with pytest.raises(TypeError, match="cache must be a PotentialsCache, got dict"):
        losses.wbm(q, treated, phi, index, cache={})
    with pytest.raises(ValueError, match="index must name the samples"):
        losses.rmpr(phi, phi, cache=PotentialsCache(50))
