"""ESCFR Fig. 2 and 4: what plain, relaxed and calibrated plans join, and that the check sees a fault."""

from __future__ import annotations

import json

import numpy as np
import pytest


@pytest.fixture
def plans():
    pytest.importorskip("matplotlib")
    from python_benchmarks import counterfactual_plans

    return counterfactual_plans


def test_every_claim_holds(plans):
    lines = plans.verdicts()
    assert [line.claim for line in lines if not line.met] == []
    assert len(lines) == 18


def test_the_kappa_of_the_text_is_needed(plans):
    """At κ ten times the text's the imbalance is still avoided, at a thousand not: the check can fail."""
    units = plans.CASES["outcome imbalance"]
    shares = [plans.crossing(units, plans.plan_of(units, kappa=kappa)) for kappa in (10.0, 1000.0, plans.INF)]
    assert shares[0] < plans.LEAK < shares[1] < shares[2]


def test_mass_moved_falls_with_the_distance_to_the_other_group(plans):
    """Section 4.3: the closer to the overlap, the more is moved."""
    units = plans.CASES["ideal"]
    plan = plans.plan_of(units, kappa=2.0, reference="product")
    x, y = units.r[units.treated], units.r[~units.treated]
    nearest = ((x[:, None] - y[None]) ** 2).sum(-1).min(1)
    order = [np.argsort(np.argsort(v)) for v in (nearest, plan.sum(1))]
    assert np.corrcoef(*order)[0, 1] < -0.5


def test_crossing(plans):
    units = plans.CASES["outlier"]
    plan = np.zeros((9, 8))
    plan[0, 0], plan[1, 0], plan[1, 7] = 2.0, 3.0, 1.0  # outlier; right; wrong
    assert plans.crossing(units, plan) == pytest.approx(0.25)
    assert plans.crossing(units, plan, with_outlier=True) == pytest.approx(0.5)


def test_the_command(plans, tmp_path, monkeypatch):
    assert plans.main(["--out", str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"plain", "relaxed", "calibrated"}
    assert all(goal["met"] for goal in json.loads((tmp_path / "counterfactual_plans.json").read_text())["goals"])
    monkeypatch.setitem(plans.KAPPA, "outcome imbalance", 1000.0)
    assert plans.main(["--out", str(tmp_path)]) == 1
