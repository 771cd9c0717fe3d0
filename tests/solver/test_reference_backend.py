"""``WBM_BACKEND=reference``: everything in plain torch, without the compiled module, and the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wbm_ext
from problems import CASE_IDS, CASES, random_problem
from wbm_ext.solver import kernels
from wbm_ext.solver.problem import (
    AUTO,
    FROZEN,
    IMPLICIT,
    MARGINAL,
    REFERENCES,
    SINKHORN,
    UNROLLED,
    Options,
    Problem,
    Upstream,
)
from wbm_ext.solver.reference import operators as twin

pytestmark = pytest.mark.native  # it compares with the compiled module, or leaves it out itself
TESTS = Path(__file__).parents[1]
OUTPUTS = ("sharp", "regularized", "f", "g", "mass", "residual", "iterations", "status", "epsilon")


def _run(code: str, backend: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "WBM_BACKEND"}
    if backend is not None:
        environment["WBM_BACKEND"] = backend
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


def test_it_runs_where_the_compiled_module_is_missing_and_says_so():
    code = (
        "import sys, torch; sys.modules['wbm_ext._core'] = None; import wbm_ext\n"
        "print(wbm_ext.build_info()['backend'])\n"
        "D = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)\n"
        "value = wbm_ext.sinkhorn(D, epsilon=0.1); value.backward(); print(float(value.detach()), float(D.grad.sum()))"
    )
    done = _run(code, "reference")
    assert done.returncode == 0, done.stderr
    backend, numbers = done.stdout.splitlines()
    assert backend.startswith("reference")
    assert "slow" in backend
    expected = wbm_ext.sinkhorn(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.1)
    assert [float(x) for x in numbers.split()] == pytest.approx([float(expected), 1.0], rel=1e-5)


def test_the_command_tells_the_backend():
    code = "import sys; sys.argv = ['wbm', 'info']; import runpy; runpy.run_module('wbm_ext', run_name='__main__')"
    assert "backend: reference (plain torch" in _run(code, "reference").stdout
    assert wbm_ext.build_info()["backend"] == "native"


def test_a_backend_that_does_not_exist_is_refused_when_the_solver_is_loaded():
    done = _run("import wbm_ext.solver", "refrence")
    assert done.returncode != 0
    assert "UnknownNameError: WBM_BACKEND='refrence' does not exist; did you mean 'reference'?" in done.stderr


def test_a_missing_module_names_the_other_backend():
    done = _run("import sys; sys.modules['wbm_ext._core'] = None; import wbm_ext.solver", None)
    assert "WBM_BACKEND=reference" in done.stderr


def test_the_contract_tests_pass_on_it():
    """A part that takes seconds; ``make test-reference`` runs them all."""
    files = [str(TESTS / "solver" / f"test_{name}.py") for name in ("arguments", "contract")]
    chosen = "rejected or validation or padding or broadcast or criterion or rescaled or optimum or rounding"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not native", "-k", chosen, *files]
    environment = {**os.environ, "WBM_BACKEND": "reference", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=TESTS.parent, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def _batch(kind: str, ref: str):
    p = random_problem(kind, 12, 9, batch=(4,), seed=2)
    p.D[1, 0, 1:4] = torch.inf
    p.a[2, 3] = 0.0
    if p.both_hard:
        p.b *= (p.a.sum(-1) / p.b.sum(-1))[:, None]
    p.D[3, 2, 2] = torch.nan  # refused
    mask = torch.ones_like(p.D, dtype=torch.bool)
    mask[0, 4, 1:3] = False
    epsilon = torch.tensor([0.05, 0.4, 1.0, 0.5], dtype=torch.float64)
    kappa = torch.tensor([p.kappa] * 4, dtype=torch.float64)
    return Problem(p.D, p.a, p.b, epsilon, kappa, mask, REFERENCES[ref])


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_its_kernels_answer_what_the_compiled_ones_do(kind, ref):
    """Solve and all three gradients of a batch with a mask, forbidden pairs, a zero mass and a refused problem."""
    problem = _batch(kind, ref)
    for options in (
        Options(AUTO, MARGINAL, IMPLICIT, 1e-11, 5000, None),
        Options(SINKHORN, MARGINAL, UNROLLED, 0.0, 4, None),
        Options(AUTO, MARGINAL, FROZEN, 1e-11, 5000, None),
    ):
        ours, (theirs, *_) = twin.solve(problem, options), kernels.solve(problem, options)
        for name in OUTPUTS:
            x, y = getattr(ours, name), getattr(theirs, name)
            assert x.dtype == y.dtype
            if name == "iterations" and options.tol > 0:
                assert bool((x > 0).eq(y > 0).all())
            elif name == "residual" and options.tol > 0:
                assert bool((x[:3] <= options.tol).all())
            else:
                torch.testing.assert_close(
                    x, y, atol=1e-8, rtol=1e-9, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
                )
        rng = torch.Generator().manual_seed(0)
        up = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in ours[:4]]
        if options.gradient == UNROLLED:  # at the zero mass the derivatives of these outputs are infinite
            for x in up[1:]:
                x[2] = 0.0
        rest = (problem, theirs, Upstream(*up), options.gradient, options.max_iter)
        for x, y in zip(twin.gradient(*rest)[:3], kernels.gradient(*rest)[0][:3], strict=True):
            torch.testing.assert_close(x, y, atol=1e-7, rtol=1e-6, equal_nan=True)


def test_small_epsilon_and_a_tolerance_below_rounding():
    """Annealing and Newton steps get there; where nothing does, the status says why."""
    p = random_problem("balanced", 20, 25, seed=1)
    kappa = torch.full((1, 2), torch.inf, dtype=torch.float64)
    for epsilon, tol, expected in ((1e-3, 1e-9, wbm_ext.Status.CONVERGED), (0.5, 1e-18, wbm_ext.Status.STAGNATED)):
        strength = torch.tensor([epsilon * float(p.D.mean())], dtype=torch.float64)
        problem = Problem(p.D[None], p.a[None], p.b[None], strength, kappa, None, 0)
        options = Options(AUTO, MARGINAL, IMPLICIT, tol, 20_000, None)
        ours, (theirs, *_) = twin.solve(problem, options), kernels.solve(problem, options._replace(tol=max(tol, 1e-9)))
        assert int(ours.status) & expected
        torch.testing.assert_close(ours.sharp, theirs.sharp, rtol=1e-7, atol=0)
