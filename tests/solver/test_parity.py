"""The fast path against a long plain iteration and against the twin in plain torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wbm_ext
from problems import CASE_IDS, CASES, KINDS, plain_iteration, plan_of, random_problem
from wbm_ext.solver.problem import AUTO, IMPLICIT, MARGINAL, REFERENCES, Options, Problem
from wbm_ext.solver.reference import iteration


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
@pytest.mark.parametrize("seed", range(6))
def test_value_and_plan_of_a_long_plain_iteration(kind, ref, seed):
    shape = [(9, 7), (1, 6), (17, 17), (40, 25), (3, 2), (8, 65)][seed]
    p = random_problem(kind, *shape, seed=seed)
    epsilon = [0.5, 0.2, 1.0, 0.4, 0.1, 0.3][seed]
    f, g = plain_iteration(p.D, p.a, p.b, epsilon, p.kappa, ref, 6000)
    expected = plan_of(p.D, f, g, epsilon)
    for method in ("auto", "sinkhorn"):
        result = wbm_ext.solve(
            p.D,
            p.a,
            p.b,
            epsilon=epsilon,
            kappa=p.kappa,
            reference=ref,
            tol=1e-12,
            max_iter=20_000,
            method=method,
        )
        assert bool(result.converged), result.status_text()
        torch.testing.assert_close(result.plan, expected, atol=1e-10, rtol=0)
        assert float(result.cost) == pytest.approx(float((p.D * expected).sum()), abs=1e-10)
        torch.testing.assert_close(plan_of(p.D, result.f, result.g, epsilon), result.plan, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
@pytest.mark.parametrize("hard_case", ["plain", "mask", "forbidden", "zero masses"])
def test_twin_agrees_on_batches(kind, ref, hard_case):
    p = random_problem(kind, 11, 10, batch=(5,), seed=3)
    mask = None
    rng = torch.Generator().manual_seed(7)
    if hard_case == "mask":
        mask = torch.rand(5, 11, 10, generator=rng) < 0.8
        mask[:, range(10), range(10)] = True
        mask[:, 10, 0] = True
    elif hard_case == "forbidden":
        p.D[torch.rand(5, 11, 10, generator=rng) < 0.15] = torch.inf
        p.D[:, range(10), range(10)] = 1.0
        p.D[:, 10, 0] = 1.0
    elif hard_case == "zero masses":
        p.a[:, ::4], p.b[:, 1::5] = 0.0, 0.0
        if p.both_hard:
            p.b *= (p.a.sum(-1) / p.b.sum(-1))[:, None]
    epsilon = torch.tensor([0.3, 0.5, 0.4, 1.0, 2.0], dtype=torch.float64)
    kappa = torch.tensor([p.kappa] * 5, dtype=torch.float64)
    result = wbm_ext.solve(
        p.D, p.a, p.b, epsilon=epsilon, kappa=(kappa[:, 0], kappa[:, 1]), reference=ref, mask=mask, tol=1e-11,
        max_iter=5000,
    )  # fmt: skip
    sharp, regularized, f, g, residual, _ = iteration.solve(
        Problem(p.D, p.a, p.b, epsilon, kappa, mask, REFERENCES[ref]),
        Options(AUTO, MARGINAL, IMPLICIT, 1e-11, 5000, None),
    )
    assert bool(result.converged.all())
    torch.testing.assert_close(result.cost, sharp, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.regularized_cost, regularized, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.residual, residual, atol=1e-11, rtol=0.05)
    torch.testing.assert_close(result.f, f, atol=1e-8, rtol=0)
    torch.testing.assert_close(result.g, g, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_tol_zero_runs_exactly_the_iterations_asked_for(kind, ref, iterations):
    p = random_problem(kind, seed=5)
    f, g = plain_iteration(p.D, p.a, p.b, 0.3, p.kappa, ref, iterations)
    for method in ("sinkhorn", "auto"):
        result = wbm_ext.solve(
            p.D,
            p.a,
            p.b,
            epsilon=0.3,
            kappa=p.kappa,
            reference=ref,
            tol=0,
            max_iter=iterations,
            method=method,
        )
        assert int(result.iterations) == iterations
        torch.testing.assert_close(result.plan, plan_of(p.D, f, g, 0.3), atol=1e-13, rtol=1e-12)
    if not p.both_hard:
        torch.testing.assert_close(result.f, f, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shorter_types_agree_with_float64(kind, dtype):
    p = random_problem(kind, 20, 30, seed=1)
    p.D = p.D.to(dtype).double()  # the same matrix in both types
    p.a, p.b = p.a.float().double(), p.b.float().double()
    exact = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.2, kappa=p.kappa, tol=1e-9, max_iter=20_000)
    short = wbm_ext.solve(
        p.D.to(dtype), p.a.float(), p.b.float(), epsilon=0.2, kappa=p.kappa, tol=1e-6, max_iter=20_000
    )
    assert short.cost.dtype == short.f.dtype == short.plan.dtype == torch.float32
    torch.testing.assert_close(short.cost.double(), exact.cost, rtol=1e-5, atol=0)
    torch.testing.assert_close(short.plan.double(), exact.plan, atol=1e-5, rtol=0)


def test_float32_delivers_the_residual_it_reports():
    # max|D| / eps = 2e4: float32 potentials would leave an error of 1e-3 in the plan
    rng = torch.Generator().manual_seed(0)
    D = torch.rand(30, 30, generator=rng) + 1000
    result = wbm_ext.solve(D, epsilon=0.05, tol=1e-6)
    plan = plan_of(D.double(), result._f, result._g, 0.05)
    error = (plan.sum(1) - 1 / 30).abs().sum() + (plan.sum(0) - 1 / 30).abs().sum()
    assert bool(result.converged)
    assert float(result.residual) == pytest.approx(float(error), abs=2e-8)  # sums of float32 kernel entries
    rounded = result.plan.double()
    assert float((rounded.sum(1) - 1 / 30).abs().sum() + (rounded.sum(0) - 1 / 30).abs().sum()) < 2e-6


@pytest.mark.native
def test_every_instruction_set_gives_the_same_answer():
    script = (
        "import sys, torch, wbm_ext; sys.path.insert(0, sys.argv[1]); from problems import random_problem, KINDS\n"
        "print(wbm_ext.build_info()['cpu_kernels'])\n"
        "for kind in KINDS:\n"
        "    p = random_problem(kind, 23, 19, seed=2, dtype=torch.float32)\n"
        "    r = wbm_ext.solve(p.D, p.a, p.b, epsilon=.2, kappa=p.kappa, tol=1e-9, max_iter=9999)\n"
        "    print(repr(float(r.cost)), repr(float(r.regularized_cost)))"
    )
    answers = {}
    for isa in ("baseline", "avx2", "avx512"):
        command = [sys.executable, "-c", script, str(Path(__file__).parents[1])]
        environment = {**os.environ, "WBM_MAX_ISA": isa}
        out = subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout.split()
        answers[out[0]] = [float(x) for x in out[1:]]
    assert len(answers["baseline"]) == 8
    for values in answers.values():
        assert values == pytest.approx(answers["baseline"], rel=1e-6)
