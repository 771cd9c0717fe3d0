"""What a user who sets nothing gets: regularisers that act whatever the units, warnings where they do not, presets."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from wbm_ext import losses
from wbm_ext.errors import BalanceWarning
from wbm_ext.ite import create, systems

QUICK = {"epochs": 6, "start_epoch": 1, "random_state": 3, "selection": None}


def test_the_papers_settings_are_one_name_away() -> None:
    escfr = create("escfr", preset="paper", kappa=2.0)
    found = {name: getattr(escfr, name) for name in ("scale", "scale_outcome", "cost_unit", "reference", "kappa")}
    assert found == {"scale": None, "scale_outcome": False, "cost_unit": None, "reference": "entropy", "kappa": 2.0}
    assert create("cfr-mmd", preset="paper").bandwidth == 1.0
    assert [create(name, preset="paper").n_neighbors for name in ("psm", "knn")] == [1, 5]
    assert create("escfr").cost_unit == "median"
    for name in systems():
        assert create(name).scale == "standard"
        assert create(name, preset="paper").scale is None
    with pytest.raises(ValueError, match="preset='papers' does not exist"):
        create("escfr", preset="papers")


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_mass_moves_whatever_the_units_of_covariates_and_outcome(size: float, problem: Any) -> None:
    model = create("escfr", **QUICK).fit(size * problem.X, size * problem.y, treatment=problem.treatment)
    mass = model.history_.column("transported_mass")[1:]
    assert all(0.5 < value < 1.0 for value in mass)
    plan = model.transport_plan(size * problem.X[:50], size * problem.y[:50], treatment=problem.treatment[:50])
    assert 0.5 < plan.transported_mass < 1.0
    last = model.history_.records[-1]
    assert last["cost_unit"] == pytest.approx(np.median(plan.cost), rel=0.5)


def test_a_plan_without_mass_is_warned_of_with_the_knob(problem: Any) -> None:
    with pytest.warns(BalanceWarning, match=r"carries a mass of .* only.*raise kappa"):
        create("escfr", **QUICK, kappa=1e-3, epsilon=1e-2).fit(**problem.arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BalanceWarning)
        create("escfr", **QUICK).fit(**problem.arguments)


def test_weights_on_a_few_units_are_warned_of_with_the_knob(problem: Any) -> None:
    rng = np.random.default_rng(0)
    steep = (problem.X[:, 0] > 0) ^ (rng.uniform(size=len(problem.X)) < 0.01)  # 1 % against all odds
    options = QUICK | {"epochs": 40, "learning_rate": 1e-2}
    with pytest.warns(BalanceWarning, match=r"effective sample size of .* raise floor \(now 1e-09\)"):
        create("drcfr", **options, floor=1e-9).fit(problem.X, problem.y, treatment=steep)


def test_the_kernel_of_mmd_is_as_wide_as_the_data() -> None:
    """In 60 dimensions a width of 1 makes every unit like itself alone: 1/n + 1/m, whatever the representation."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 60, generator=rng), 0.5 + torch.randn(30, 60, generator=rng)
    assert float(losses.mmd(x, y, bandwidth=1.0)) == pytest.approx(1 / 40 + 1 / 30, rel=1e-4)
    own, same = float(losses.mmd(x, y)), float(losses.mmd(x, y - 0.5))
    assert own > 1.5 * same
    for name in ("cfr-mmd", "drcfr"):
        assert create(name).bandwidth is None


@pytest.mark.parametrize("name", ["mim-drcfr", "drcfr"])
def test_the_adjustment_factor_does_not_vanish(name: str, problem: Any) -> None:
    """A discrepancy that shrinks with its factor would shrink it: what is balanced has no scale."""
    model = create(name, **QUICK | {"epochs": 60}, balance_weight=10.0, learning_rate=5e-3).fit(**problem.arguments)
    with torch.no_grad():
        r = torch.as_tensor(model.represent(problem.X))
        adjustment = model.model_.adjustment(r)
        assert float(adjustment.std(0).mean()) > 0.05
        torch.testing.assert_close(model._balanced(r), model._balanced(7 * r))


@pytest.mark.parametrize("name", ["knn", "psm"])
def test_the_number_of_neighbours_is_that_of_least_error(name: str) -> None:
    """Much noise asks for many neighbours, none for few."""
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(600, 1)), np.arange(600) % 2
    signal = np.sin(2 * X[:, 0])
    chosen = {}
    for noise in (0.0, 3.0):
        y = signal + noise * rng.normal(size=600)
        chosen[noise] = create(name, random_state=0).fit(X, y, treatment=t).n_neighbors_
    assert chosen[0.0] <= 3
    assert chosen[3.0] >= 13
    assert create(name, n_neighbors=4).fit(X, signal, treatment=t).n_neighbors_ == 4
