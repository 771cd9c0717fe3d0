"""The benchmark of solves in company: every state is timed, goals are their ratios, the command writes JSON."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def command():
    from python_benchmarks import in_company

    return in_company


def timed(command, **medians):
    states = (command.ALONE, *command.AFTER, command.ONE_THREAD, command.BESIDE)
    return {state: {"median": 1.0, "p90": 1.1, "least": 0.9} for state in states} | medians


def test_goals_are_ratios_to_alone_and_to_one_thread(command):
    assert command.missed(timed(command)) == []
    slow = {"median": 1.2, "p90": 1.6, "least": 1.0}
    assert command.missed(timed(command, **{command.AFTER[0]: slow})) == [
        "after a matmul: 1.20 x alone",
        "after a matmul: 90th percentile 1.33 x the median",
    ]
    assert command.missed(timed(command, **{command.BESIDE: slow})) == ["beside a busy process: 1.20 x one thread"]


def test_the_command(command, tmp_path, capsys):
    assert command.main(["--quick", "--rounds", "2", "--partial", str(tmp_path / "run.json")]) == 0
    content = json.loads((tmp_path / "run.json").read_text())
    assert set(content["records"]) == set(command.QUICK)
    for record in content["records"].values():
        assert all(record[state]["repeats"] == 2 for state in (command.ALONE, *command.AFTER, command.BESIDE))
        assert all(0 < record[state]["least"] <= record[state]["p90"] for state in (command.ONE_THREAD, command.BESIDE))
    assert "beside a busy process" in capsys.readouterr().out
