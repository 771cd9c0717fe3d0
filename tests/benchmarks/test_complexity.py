"""The complexity study at tiny sizes: what it checks is right, what it writes is whole and loads nothing from elsewhere."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_complexity import run, tiny

import wbm_ext


@pytest.fixture
def command():
    from python_benchmarks.complexity import __main__ as command

    return command


@pytest.mark.parametrize("kappa", [math.inf, 0.7])
def test_the_certificate_believes_the_definition_only(kappa):
    from python_benchmarks.complexity.certificate import certify

    rng = np.random.default_rng(0)
    D = rng.uniform(size=(6, 9))
    a, b = np.full(6, 1 / 6), np.full(9, 1 / 9)
    found = wbm_ext.solve(torch.from_numpy(D), epsilon=0.1, kappa=kappa, tol=1e-11, max_iter=10_000)
    f, g = found.f.numpy(), found.g.numpy()
    proof = certify(D, a, b, 0.1, kappa, f, g)
    assert proof.residual < 2e-11
    assert proof.cost == pytest.approx(float(found.cost), rel=1e-10)
    assert certify(D, a, b, 0.1, kappa, f + 1e-3, g).residual > 1e-3
    assert certify(D, a, b, 0.1, kappa, f + np.nan, g).residual == math.inf


def test_the_gradient_is_that_of_finite_differences():
    from python_benchmarks._problems import squared_distances
    from python_benchmarks.complexity import certificate, metric

    q, treated, phi = metric.draw(5, 7, 3, 0)
    D = squared_distances(phi[treated], phi[~treated])

    def solve(q):
        a, b = certificate.inverse_masses(q, treated)
        masses = torch.from_numpy(a), torch.from_numpy(b)
        return wbm_ext.solve(torch.from_numpy(D), *masses, epsilon=0.5, tol=1e-13, max_iter=100_000)

    expected = []
    for i in range(len(q)):
        step = np.zeros_like(q)
        step[i] = 1e-5
        expected.append((float(solve(q + step).cost) - float(solve(q - step).cost)) / 2e-5)
    found = certificate.propensity_gradient(D, solve(q).plan.numpy(), q, treated)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: replace(f, value=f.value * 1.001), "the plan's cost is"),
        (lambda f: replace(f, result=replace(f.result, _g=f.result._g + 1e-3)), "above 1e-06"),
    ],
)
def test_a_wrong_result_is_not_timed(monkeypatch, spoil, reason):
    from python_benchmarks.complexity import metric
    from python_benchmarks.complexity.options import Options

    right = metric.balance
    cell = metric.Cell("cpu", 8, 8, 2, 1e-6, 0.05, metric.VALUE)
    options = tiny(Options())
    assert "seconds" in metric.measure(cell, options)
    monkeypatch.setattr(metric, "balance", lambda *args, **named: spoil(right(*args, **named)))
    record = metric.measure(cell, options)
    assert "seconds" not in record
    assert reason in record["wrong"]


def test_a_wrong_gradient_is_not_timed(monkeypatch):
    from python_benchmarks.complexity import metric
    from python_benchmarks.complexity.options import Options

    right = metric.balance
    cell = metric.Cell("cpu", 8, 8, 2, 1e-6, 0.05, metric.BOTH)

    def doubled(q, *args, **named):
        return right(q + (q - q.detach()), *args, **named)

    assert "seconds" in metric.measure(cell, tiny(Options()))
    monkeypatch.setattr(metric, "balance", doubled)
    assert "gradient off by" in metric.measure(cell, tiny(Options()))["wrong"]


def test_interval_of_a_mean():
    from python_benchmarks.complexity.cells import half_width, spread

    samples = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert half_width(samples, 0.95) == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert spread(samples)["half"] == pytest.approx(8.610302 * math.sqrt(2.5 / 5), rel=1e-6)
    assert spread([2.0]) == {"mean": 2.0, "sd": 0.0, "half": None}


def test_exponent_of_a_power_law():
    from python_benchmarks.complexity.growth import fit

    slope, low, high = fit([(x, [3.0 * x**1.5 * c for c in (0.9, 1.0, 1.1)]) for x in (8, 16, 32)])
    assert slope == pytest.approx(1.5)
    assert low < 1.5 < high
    assert high - low < 0.3
    assert fit([(8, [1.0, 1.1, 1.2])]) is None


def test_goals_are_held_to_the_tightest_threshold():
    from python_benchmarks.complexity.growth import verdicts
    from python_benchmarks.complexity.options import Options

    def record(relative, tau, median):
        shape = {"device": "cpu", "n": 256, "m": 256, "relative_epsilon": relative, "tau": tau}
        return shape | {"seconds": {"median": median}}

    times = [(0.05, 1e-3, 0.2e-3), (0.05, 1e-9, 0.9e-3), (0.01, 1e-3, 1e-3), (0.01, 1e-9, 3.5e-3)]
    found = list(verdicts({f"goal|{i}|x": record(*row) for i, row in enumerate(times)}, Options()))
    assert [(round(v.value, 6), v.goal, v.met) for v in found] == [
        (0.9e-3, 1e-3, True), (4.5, 4.0, False), (3.5e-3, 3e-3, False), (3.5, 4.0, True),
    ]  # fmt: skip


def test_published_columns_are_those_of_the_grid():
    from python_benchmarks.complexity.options import Options
    from python_benchmarks.complexity.published import TABLE3

    options = Options()
    columns = {"batch": options.escfr_batches, "epsilon": options.epsilons, "kappa": options.kappas}
    assert all(tuple(entries) == columns[axis] for (axis, _), entries in TABLE3.items())
    quick = options.quick()
    for name in ("batches", "dimensions", "taus", "escfr_batches", "epsilons", "kappas", "peer_sizes", "limit_sizes"):
        assert set(getattr(quick, name)) <= set(getattr(options, name)), name


def test_an_interrupted_run_goes_on_and_is_compared(command, tmp_path, monkeypatch, capsys):
    from python_benchmarks.complexity import metric

    right, cells = metric.measure, []

    def stops(cell, options):
        if len(cells) == 3:
            raise KeyboardInterrupt
        cells.append(cell)
        return right(cell, options)

    monkeypatch.setattr(metric, "measure", stops)
    assert run(command, tmp_path, sections=("goal",)) == 130
    kept = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert len(kept) == 1 + 3
    assert "The run was interrupted" in (tmp_path / "index.html").read_text()
    monkeypatch.setattr(metric, "measure", right)
    assert run(command, tmp_path, sections=("goal",)) == 0
    text = capsys.readouterr().out
    assert "going on from 3 cells of an interrupted run" in text
    content = json.loads((tmp_path / "complexity.json").read_text())
    assert [content["records"][json.loads(line)["key"]] for line in kept[1:]] == [
        json.loads(line)["record"] for line in kept[1:]
    ]
    old = tmp_path / "old.json"
    for record in content["records"].values():
        for name in ("median", "q1", "q3"):
            record["seconds"][name] = 1e3
    old.write_text(json.dumps(content))
    assert run(command, tmp_path / "new", "--against", str(old), sections=("goal",)) == 0
    assert "Against the earlier result" in capsys.readouterr().out


def test_peers_get_the_same_problem_and_the_absent_are_named(command, tmp_path, monkeypatch):
    from python_benchmarks.complexity import contest
    from python_benchmarks.peers.loaded import load

    chosen = [p for p in load()[0] if p.name == "POT sinkhorn, numpy"]
    monkeypatch.setattr(contest, "load", lambda: (chosen, []))
    assert run(command, tmp_path, sections=("peers",)) == 0
    content = json.loads((tmp_path / "complexity.json").read_text())
    names = [key.split("|")[2] for key in content["records"]]
    present = [] if chosen[0].absent() else [chosen[0].name]
    assert names == ["wbm_ext", *present, "wbm_ext, again"]
    for record in content["records"].values():
        assert record["reached"]
        assert record["residual"] <= contest.TARGET
        assert len(record["seconds"]["samples"]) == record["seconds"]["repeats"]
    assert "flash-sinkhorn runs on CUDA only" in content["left_out"]
    assert any(line.startswith("curegot is") for line in contest.left_out(("cpu", "cuda")))
    assert len(list((tmp_path / "plots").glob("peers-*.svg"))) == 1


def test_libraries_that_take_batches_only_take_no_part(monkeypatch):
    from python_benchmarks.complexity import contest
    from python_benchmarks.complexity.options import Options
    from python_benchmarks.peers.registry import Peer

    monkeypatch.setattr(Peer, "absent", lambda self, device="cpu": "")
    named = {task.key.split("|")[-1] for task in contest.tasks(tiny(Options()))}
    batches = {peer.name for peer in contest.load()[0] if not peer.single}
    assert batches
    assert not batches & named


def test_a_budget_cuts_the_least_important_and_names_it(command, tmp_path, monkeypatch, capsys):
    from python_benchmarks.complexity import metric

    right, now = metric.measure, [0.0]

    def slow(cell, options):
        now[0] += 60.0
        return right(cell, options)

    monkeypatch.setattr(metric, "measure", slow)
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])  # the harness reads the same clock
    assert run(command, tmp_path, "--budget", "3.5", sections=("goal", "wbm")) == 0
    text = capsys.readouterr().out
    assert "16 of 16 cells are open: about" in text
    assert "cut by the budget of 3.5 min: wbm, cpu, 32 x 32, k=4, eps=0.05, tau=1e-06: value, value + gradient" in text
    assert "goal, cpu" not in text.split("cut by")[1]
    content = json.loads((tmp_path / "complexity.json").read_text())
    assert len(content["records"]) == 4
    assert len(content["cut"]["cells"]) == 12
    assert "complete" not in content
    page = (tmp_path / "index.html").read_text()
    assert "a budget of 3.5 minutes, which has cut" in page
    assert "<li>wbm, cpu, 32 x 32, k=4, eps=0.05, tau=1e-06: value, value + gradient</li>" in page
    assert "interrupted" not in page
    monkeypatch.setattr(metric, "measure", right)
    assert run(command, tmp_path, sections=("goal", "wbm")) == 0
    assert "12 of 16 cells are open" in capsys.readouterr().out
    assert "cut" not in json.loads((tmp_path / "complexity.json").read_text())
    assert "which has cut" not in (tmp_path / "index.html").read_text()


def test_long_cells_come_last(command):
    from python_benchmarks.complexity.options import Options

    options = replace(Options(), devices=("cpu",))
    tasks = command.ordered([task for section in command.SECTIONS.values() for task in section(options)])
    keys = [task.key for task in tasks]
    assert keys[0].startswith("goal|cpu, 256 x 256")
    first_long = next(i for i, task in enumerate(tasks) if task.expected > command.LONG)
    assert {"2048 x 2048", "n=1024"} == {re.search(r"2048 x 2048|n=1024", key)[0] for key in keys[first_long:]}
    assert len(keys) == len(set(keys))


def test_a_dry_run_measures_nothing(command, tmp_path, capsys):
    assert run(command, tmp_path, "--dry-run") == 0
    assert re.match(r"25 of 25 cells are open: about 0\.\d min \(goal 0 s, machine \d s, ", capsys.readouterr().out)
    assert not (tmp_path / "index.html").exists()


def test_bad_arguments_are_refused_before_any_work(command, tmp_path, capsys):
    for words, message in (
        (["--threads", "0"], "--threads must be from 1 to"),
        (["--budget", "0"], "--budget must be"),
        (["--against", str(tmp_path / "none.json")], "expected a result's JSON file, got"),
    ):
        with pytest.raises(SystemExit):
            command.main([*words, "--out", str(tmp_path / "out")])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
