"""The toy study of the balancing metric: exact transport, its clouds, one cell of it, its verdicts, the whole of it (slow)."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import linprog

pytest.importorskip("ot", reason="POT is not installed")


@pytest.fixture
def study():
    from python_benchmarks.balance import study

    return study


def test_the_clouds_are_fixed_and_only_move(study):
    near, far = study.clouds(0.9), study.clouds(3.9)
    np.testing.assert_allclose(near.x[0], [0.12573022 + 0.45, -0.13210486], atol=1e-8)
    np.testing.assert_allclose(far.x - near.x, np.tile([1.5, 0.0], (study.SIZE, 1)), atol=1e-12)
    np.testing.assert_allclose(far.y - near.y, np.tile([-1.5, 0.0], (study.SIZE, 1)), atol=1e-12)


def test_the_evaluation_is_the_linear_programme(study):
    data = study.clouds(1.8)
    data = study.Clouds(data.x[:8], data.y[:8])
    a, b = np.arange(1.0, 9), np.arange(8.0, 0, -1)
    D = ((data.x[:, None] - data.y[None]) ** 2).sum(-1)
    rows, columns = np.kron(np.eye(8), np.ones(8)), np.kron(np.ones(8), np.eye(8))
    expected = linprog(D.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]) / 36).fun
    assert study.exact(data, a, b)[0] == pytest.approx(expected, rel=1e-9)


def test_weights_are_inverse_propensities_on_either_side(study):
    data = study.clouds(0.9)
    q = np.linspace(0.0, 1.0, 200)
    w = study.weigh(data, q)
    assert w.a[50] / w.a[60] == pytest.approx(q[60] / q[50])
    assert w.b[50] / w.b[60] == pytest.approx((1 - q[160]) / (1 - q[150]))
    assert w.propensity.min() == study.CLIP
    assert w.ess[0] == pytest.approx(1 / (w.a**2).sum())
    assert study.uniform(data).ess == pytest.approx((100, 100))


def test_the_hinge_starts_at_its_share(study):
    import torch

    even = torch.zeros(10, dtype=torch.float64)
    even[:3] = 1 / 3  # effective sample size 3 of 10
    assert float(study.penalty(even)) == pytest.approx(0, abs=1e-12)
    assert float(study.penalty(torch.eye(10, dtype=torch.float64)[0])) == pytest.approx(2)


def test_the_closest_cell_meets_both_goals(study):
    """Shift .9 at the largest ε has the least reduction of draw 0."""
    data = study.clouds(0.9)
    before = min(study.likelihood(data, name).discrepancy for name in study.NLL)
    trained = study.by_sample(data, 0.2)
    assert trained.discrepancy <= (1 - study.REDUCTION) * before
    assert min(trained.ess) >= study.LEAST_SHARE * study.SIZE
    assert trained.curve[-1] < 0.5 * trained.curve[0]


def _found(study, goals):
    one = study.uniform(study.clouds(0.9))
    found = {}
    for place, shift in enumerate(study.SHIFTS):
        for name in study.NLL:
            found[name, shift] = dataclasses.replace(one, accuracy=0.6 + 0.1 * place, discrepancy=1.0 + place)
        for epsilon in study.EPSILONS:
            w = dataclasses.replace(one, discrepancy=0.4, ess=(30.0, 26.0), curve=[2.0, 1.0])
            found[goals.wbm_name(epsilon), shift] = w
    return found


def test_verdicts(study):
    from python_benchmarks.balance import goals

    found = _found(study, goals)
    lines = goals.verdicts(found)
    assert len(lines) == 4 + 2 * len(study.SHIFTS) * len(study.EPSILONS)
    assert all(line.met for line in lines)
    key = goals.wbm_name(study.EPSILONS[0]), study.SHIFTS[0]
    for change in ({"discrepancy": 0.41}, {"ess": (30.0, 24.9)}):
        worse = found | {key: dataclasses.replace(found[key], **change)}
        assert sum(not line.met for line in goals.verdicts(worse)) == 1
    level = {(study.NLL[0], study.SHIFTS[1]): dataclasses.replace(found[study.NLL[0], study.SHIFTS[0]])}
    assert sum(not line.met for line in goals.verdicts(found | level)) == 2


@pytest.mark.slow
def test_the_command(tmp_path):
    pytest.importorskip("matplotlib")
    from python_benchmarks.balance.__main__ import main

    assert main(["--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "balance.json").read_text())
    assert len(content["records"]) == 8 * 4
    assert {path.name for path in tmp_path.glob("*.png")} == {"nll.png", "wbm.png", "epochs.png"}


def test_a_missed_goal_is_the_exit_status(tmp_path, monkeypatch, study):
    pytest.importorskip("matplotlib")
    from python_benchmarks.balance import __main__ as command
    from python_benchmarks.balance import figures, goals

    found = _found(study, goals)
    for shift in study.SHIFTS:
        for name in (command.UNIFORM, command.NETWORK, command.UNHINGED):
            found[name, shift] = study.uniform(study.clouds(shift))
    monkeypatch.setattr(command, "run", lambda: found)
    for slow in ("nll_figure", "wbm_figure"):  # drawn by the whole command
        monkeypatch.setattr(figures, slow, lambda _: figures.Figure())
    assert command.main(["--out", str(tmp_path)]) == 0
    found[goals.wbm_name(0.2), 0.9] = dataclasses.replace(found[goals.wbm_name(0.2), 0.9], discrepancy=0.5)
    assert command.main(["--out", str(tmp_path)]) == 1
    assert (tmp_path / "epochs.png").stat().st_size > 1000
