"""Adapters of the peers that are installed deliver what they promise on small problems; the rest is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest


@pytest.fixture
def problem():
    from python_benchmarks._problems import clouds

    return clouds(16, 0.05, 0, "float64")


@pytest.fixture
def limits():
    from python_benchmarks.peers.subjects import Limits

    return Limits(budget=0.002, cap=60.0, most=20_000)  # no cap that a busy machine could meet


def peer_named(name, batch=False):
    """The peer, skipping where it is not installed; torch's loop without the wait for a compiler."""
    from python_benchmarks.peers import loaded, with_torch

    peer = next(p for p in loaded.load()[batch] if p.name.startswith(name))
    if peer.absent():
        pytest.skip(peer.absent())
    return dataclasses.replace(peer, prepare=with_torch.loop(False)) if peer.package == "torch" else peer


PLAIN = [
    "POT sinkhorn, numpy", "POT sinkhorn_stabilized, numpy", "POT sinkhorn_log, numpy", "POT sinkhorn, torch",
    "POT sinkhorn_log, torch", "OTT-JAX lse", "torch logsumexp",
]  # fmt: skip
STOPPING = [*PLAIN, "mdot-tnt", "RegOT SSNS", "RegOT SPLR"]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_iterations_equal_the_reference(problem, limits, name):
    from python_benchmarks.peers.subjects import fixed

    record = fixed(peer_named(name), problem, 30, limits)
    assert "wrong" not in record
    assert record["distance"] < 1e-10
    assert record["seconds"]["repeats"] >= 1


@pytest.mark.parametrize("name", STOPPING)
def test_the_residual_asked_for_is_achieved(problem, limits, name):
    from python_benchmarks.peers.subjects import to_residual

    record = to_residual(peer_named(name), problem, 1e-9, limits)
    assert record["reached"]
    assert record["residual"] <= 1e-9
    assert record["misfit"] < 1e-8


@pytest.mark.parametrize("tolerance", [0.0, 1e-9])
def test_this_solver_passes_the_same_checks(problem, limits, tolerance):
    from python_benchmarks.peers.single import OURS
    from python_benchmarks.peers.subjects import fixed, to_residual

    record = to_residual(OURS, problem, 1e-9, limits) if tolerance else fixed(OURS, problem, 30, limits)
    assert "wrong" not in record
    assert "seconds" in record


def test_geomloss_has_no_tolerance_and_is_told_so(problem, monkeypatch):
    from python_benchmarks.peers import subjects

    monkeypatch.setattr(subjects, "PROBE", 5)
    monkeypatch.setattr(subjects, "LEAST", 20)
    record = subjects.to_residual(peer_named("GeomLoss"), problem, 1e-9, subjects.Limits(cap=0.0))
    assert record["reached"] is False
    assert "seconds" not in record


BATCH = {
    "POT solve_batch, sinkhorn, autodiff": True,
    "POT solve_batch, sinkhorn, last_step": False,
    "POT solve_batch, sinkhorn, envelope": True,
    "GeomLoss": False,
}


@pytest.mark.parametrize("name", BATCH)
def test_only_true_gradients_are_timed(name):
    from python_benchmarks._problems import clouds
    from python_benchmarks.peers.batches import gradient_race
    from python_benchmarks.peers.options import Options
    from python_benchmarks.peers.subjects import Limits

    record = gradient_race(peer_named(name, batch=True), clouds(12, 0.05, batch=4), Options(limits=Limits(0.002)))
    assert ("seconds" in record) is BATCH[name]
    assert ("wrong" in record) is not BATCH[name]


def test_a_wrong_plan_is_not_timed(problem, limits):
    from python_benchmarks.peers.registry import Peer, Run
    from python_benchmarks.peers.subjects import fixed, to_residual

    product = np.outer(problem.a, problem.b)  # right marginals, wrong plan
    liar = Peer("liar", "none", "none", lambda *_: Run(lambda: 0, lambda _: product))
    for record in (fixed(liar, problem, 10, limits), to_residual(liar, problem, 1e-9, limits)):
        assert "not of the form" in record["wrong"]
        assert "seconds" not in record


def test_the_certificate(problem):
    from python_benchmarks import _problems as p

    plan = p.plain_plan(problem, 2000)
    assert p.residual(plan, problem) < 1e-12
    assert p.misfit(plan, problem) < 1e-10
    assert p.residual(np.full_like(plan, np.nan), problem) == np.inf
    assert p.misfit(np.full_like(plan, np.nan), problem) == np.inf
    step, h = np.random.default_rng(0).standard_normal(problem.D.shape), 1e-5
    moved = [dataclasses.replace(problem, D=problem.D + s * h * step) for s in (1, -1)]
    costs = [(q.D * p.plain_plan(q, 2000)).sum() for q in moved]
    slope = (p.sharp_gradient(problem.D, plan, problem.epsilon) * step).sum()
    assert (costs[0] - costs[1]) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_who_is_missing_is_named_with_the_reason(monkeypatch):
    from python_benchmarks.peers import registry
    from python_benchmarks.peers.__main__ import left_out

    here = registry.importlib.util.find_spec
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None if name == "ott" else here(name))
    monkeypatch.setattr(registry.sys, "version_info", (3, 11, 0))
    assert "ott-jax is not installed" in left_out()
    assert "torchmatch needs Python 3.13 or later" in left_out()


def test_goals_read_the_records():
    from python_benchmarks.peers.goals import verdicts

    def timed(median, **more):
        return {"seconds": {"median": median, "q1": median, "q3": median, "repeats": 5}} | more

    records = {
        "iterations|n=256|wbm_ext": timed(1.0),
        "iterations|n=256|wbm_ext, again": timed(3.0),
        "iterations|n=256|POT sinkhorn, numpy": timed(30.0),
        "iterations|n=256|POT sinkhorn, torch": timed(26.0),
        "tight|eps=0.01, n=64, seed=0|wbm_ext": timed(1e-4),
        "tight|eps=0.01, n=64, seed=0|mdot-tnt": timed(1e-2),
        "tight|eps=0.01, n=64, seed=1|wbm_ext": timed(3e-4),
        "tight|eps=0.01, n=64, seed=1|mdot-tnt": timed(1e-2),
        "tight|eps=0.01, n=64, seed=1|GeomLoss ot.solve": {"skipped": "slow"},
        "latency|no gradient|wbm_ext": timed(30e-6),
        "latency|no gradient|torch logsumexp of 4 x 4": timed(5e-6),
        "memory|n=1024, 1000 iterations|wbm_ext": {"error": "RuntimeError"},
    }
    found = {(v.section, v.what): v for v in verdicts(records)}
    pot = found["iterations", "over POT's fastest Sinkhorn"]
    assert (pot.value, pot.goal, pot.met, pot.peer) == (13.0, 12.0, True, "POT sinkhorn, torch")
    assert found["iterations", "over OTT-JAX, log domain"].met is None
    assert found["tight", "slowest of 2 seeds"].met is False
    least = found["tight", "over the fastest peer, least of 2 of 2 seeds"]
    assert least.value == pytest.approx(1e-2 / 3e-4)
    assert least.met is False
    assert found["latency", "4 x 4"].met
    assert found["memory", "beyond D and dD"].met is None


def test_the_command(tmp_path, capsys):
    """Run, tables, plot and comparison with itself, on one size and one peer."""
    pytest.importorskip("ot", reason="POT is not installed")
    pytest.importorskip("matplotlib")
    from python_benchmarks.peers.__main__ import main

    kept, picture = tmp_path / "run.json", tmp_path / "run.png"
    line = ["--quick", "--section", "iterations", "--sizes", "8", "--only", "POT sinkhorn, numpy", "--threads", "1"]
    line += ["--budget", "0.002", "--partial", str(kept)]
    assert main([*line, "--plot", str(picture)]) == 0
    assert picture.stat().st_size > 1000
    earlier = tmp_path / "earlier.json"
    kept.rename(earlier)
    assert main([*line, "--against", str(earlier)]) == 0
    text = capsys.readouterr().out
    assert "over POT's fastest Sinkhorn" in text
    assert "Against the earlier result" in text
