"""The benchmark of fits at tiny sizes: one row a claim, its goal and verdict, and a run that goes on."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def command():
    from python_benchmarks import fits

    return fits


def test_every_claim_is_measured_and_shown(command, tmp_path, capsys):
    path = tmp_path / "run.json"
    names = [name for name in command.CLAIMS if name != "music"]  # one large fit in a process of its own will do
    line = [word for name in names for word in ("--only", name)]
    assert command.main(["--quick", "--threads", "1", "--partial", str(path), *line]) == 0
    records = json.loads(path.read_text())["records"]
    assert list(records) == names
    for name, record in records.items():
        assert record["found"]["median"] > 0
        assert (record["unit"], record["most"]) == (command.CLAIMS[name].unit, command.CLAIMS[name].most)
    text = capsys.readouterr().out
    assert all(command.CLAIMS[name].text in text for name in names)
    assert "goal" not in text  # tiny sizes have none


def test_goals_decide_and_what_was_measured_is_not_measured_again(command, tmp_path, capsys, monkeypatch):
    found = {"escfr": [100.0, 80.0, 70.0], "music": [31.0]}
    asked = []

    def measured(name, size, threads):
        asked.append((name, threads))
        claim = command.CLAIMS[name]
        if len(asked) == 2:
            raise KeyboardInterrupt
        timing = command.harness.summarize(found[name]).record(samples=True)
        return {"unit": claim.unit, "most": claim.most, "found": timing}

    monkeypatch.setattr(command, "measured", measured)
    line = ["--only", "escfr", "--only", "music", "--partial", str(tmp_path / "run.json")]
    assert command.main(line) == 130
    assert command.main(line) == 1
    assert asked == [("escfr", 2), ("music", 2), ("music", 2)]
    text = capsys.readouterr().out
    assert "80.00 s (75.00 to 90.00, 3 runs); goal: at most 90 s, met" in text
    assert "31.00 s (31.00 to 31.00, 1 runs); goal: at most 30 s, MISSED" in text


def test_a_race_is_of_quotients_in_changing_order(command, monkeypatch):
    fits = []

    def effects(name, size, epochs, **params):
        fits.append((name, params.get("start_epoch"), params["batch_size"]))
        return {"tarnet": 2.0, "escfr": 2.5}[name]

    monkeypatch.setattr(command, "effects", effects)
    assert command.escfr_over_tarnet(command.FULL, 1) == [1.25] * 5
    assert [name for name, _, _ in fits[:4]] == ["escfr", "tarnet", "tarnet", "escfr"]
    assert set(fits) == {("tarnet", None, 128), ("escfr", 0, 128)}
