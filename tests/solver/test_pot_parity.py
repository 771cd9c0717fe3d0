"""Parity with POT, where both define the same number. Needs the extra ``peers``."""

from __future__ import annotations

import math

import pytest
import torch

import wbm_ext
from problems import random_problem

ot = pytest.importorskip("ot", reason="the extra 'peers' is not installed")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epsilon", [1.0, 0.3])
def test_balanced(seed, epsilon):
    p = random_problem("balanced", 12, 9, seed=seed)
    a, b = p.a / p.a.sum(), p.b / p.b.sum()
    plan = ot.sinkhorn(a, b, p.D, epsilon, method="sinkhorn_log", numItermax=20_000, stopThr=1e-14)
    ours = wbm_ext.solve(p.D, a, b, epsilon=epsilon, tol=1e-12, max_iter=20_000)
    torch.testing.assert_close(ours.plan, plan, atol=1e-11, rtol=0)
    assert float(ours.cost) == pytest.approx(float((plan * p.D).sum()), abs=1e-10)


@pytest.mark.parametrize(("ours", "theirs"), [("entropy", "entropy"), ("product", "kl")])
@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@pytest.mark.parametrize("kappa", [(1.0, 1.0), (0.3, 2.0), (math.inf, 1.0), (1.0, math.inf)])
def test_unbalanced(kappa, ours, theirs):
    p = random_problem("unbalanced", 8, 6, seed=1)
    plan = ot.unbalanced.sinkhorn_unbalanced(
        p.a.numpy(), p.b.numpy(), p.D.numpy(), 0.5, kappa, reg_type=theirs, numItermax=100_000, stopThr=1e-15
    )
    result = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.5, kappa=kappa, reference=ours, tol=1e-12, max_iter=100_000)
    torch.testing.assert_close(result.plan, torch.from_numpy(plan), atol=1e-9, rtol=0)


@pytest.mark.parametrize("ours", ["entropy", "product"])
def test_the_regularised_value(ours):
    """``ot.solve`` reports the same objective; its entropy is Σ P log P, ours Σ P (log P - 1)."""
    p = random_problem("balanced", 8, 6, seed=2)
    a, b = p.a / p.a.sum(), p.b / p.b.sum()
    reg_type = {"entropy": "entropy", "product": "KL"}[ours]
    theirs = ot.solve(p.D, a, b, reg=0.4, reg_type=reg_type, max_iter=20_000, tol=1e-13)
    result = wbm_ext.solve(p.D, a, b, epsilon=0.4, reference=ours, tol=1e-12, max_iter=20_000)
    shift = 0.4 * float(result.transported_mass) if ours == "entropy" else 0.0
    assert float(result.regularized_cost) + shift == pytest.approx(float(theirs.value), abs=1e-9)
