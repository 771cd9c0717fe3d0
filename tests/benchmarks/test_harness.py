"""Statistics, resuming after an interrupt, noise notes, comparison. Nothing here asserts a real time."""

from __future__ import annotations

import itertools
import json

import pytest


@pytest.fixture
def harness():
    from python_benchmarks import _harness

    return _harness


def ticking(step: float):
    """A clock that advances by ``step`` seconds each time it is read."""
    return (step * count for count in itertools.count()).__next__


def test_quartiles(harness):
    timing = harness.summarize([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (timing.q1, timing.median, timing.q3, timing.repeats) == (2.0, 3.0, 4.0, 5)
    assert harness.summarize([2.0]) == harness.Timing(2.0, 2.0, 2.0, 1)


def test_a_wide_spread_is_noted(harness):
    assert harness.Timing(1.0, 0.95, 1.05, 9).note() == ""
    assert harness.Timing(1.0, 0.9, 1.4, 9).note() == "noisy, quartiles 50 % apart"
    assert "noise" in harness.Timing(1.0, 0.9, 1.4, 9).record()
    assert "noise" not in harness.Timing(1.0, 1.0, 1.0, 9).record()


@pytest.mark.parametrize(("budget", "expected"), [(0.0, 3), (100.0, 101), (1e9, 200)])
def test_repeats_follow_the_budget(harness, budget, expected):
    calls = []
    timing = harness.measure(
        lambda: calls.append(1), budget=budget, least=3, most=200, clock=ticking(0.5 if budget else 0.0001)
    )
    assert timing.repeats == (expected if budget else 1)
    assert len(calls) == timing.repeats + 1  # one to warm up


def test_short_calls_are_looped(harness):
    calls = []
    timing = harness.measure(lambda: calls.append(1), budget=1.0, most=4, clock=ticking(1e-6))
    assert len(calls) == 1 + 4 * 20
    assert timing.median == pytest.approx(1e-6 / 20)


def test_threads_are_put_back(harness):
    import torch

    with harness.threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_machine_tells_versions_and_no_paths(harness):
    info = harness.machine(["pot", "no-such-package"])
    text = json.dumps(info)
    assert info["versions"]["torch"]
    assert info["versions"]["no-such-package"] is None
    assert info["build"]["compiler"]
    assert "/home" not in text
    import platform

    assert platform.node() == "" or platform.node() not in text


def test_an_interrupt_keeps_what_is_done_and_the_next_run_goes_on(harness, tmp_path):
    path, ran = tmp_path / "run.json", []

    def tasks(stop_at):
        def make(name):
            def run(store):
                if name == stop_at:
                    raise KeyboardInterrupt
                ran.append(name)
                return {"seconds": {"median": 1.0}}

            return harness.Task(name, run)

        return [make(name) for name in "abc"]

    store = harness.Store(path, {}, {"sizes": 1})
    assert not harness.run_tasks(tasks("b"), store, quiet=True)
    assert list(json.loads(path.read_text())["records"]) == ["a"]

    store = harness.Store(path, {}, {"sizes": 1})
    assert store.resumed == 1
    assert harness.run_tasks(tasks(None), store, quiet=True)
    store.finish()
    assert ran == ["a", "b", "c"]
    assert harness.Store(path, {}, {"sizes": 1}).resumed == 0, "a complete run is not taken up again"


def test_another_setting_starts_anew(harness, tmp_path):
    store = harness.Store(tmp_path / "run.json", {}, {"sizes": 1})
    store.put("a", {})
    assert harness.Store(tmp_path / "run.json", {}, {"sizes": 2}).resumed == 0
    (tmp_path / "run.json").write_text("{ half a fi")
    assert harness.Store(tmp_path / "run.json", {}, {"sizes": 1}).resumed == 0


def test_a_failing_task_stops_nobody_and_is_tried_again(harness, tmp_path):
    def fail(store):
        raise RuntimeError("first\nmiddle\nlast")

    store = harness.Store(tmp_path / "run.json", {}, {})
    assert harness.run_tasks([harness.Task("a", fail), harness.Task("b", lambda s: {"x": 1})], store, quiet=True)
    assert [record.pop("took") >= 0.0 for record in store.records.values()] == [True, True]
    assert store.records == {"a": {"error": "RuntimeError: first ... last"}, "b": {"x": 1}}
    harness.run_tasks([harness.Task("a", lambda s: {"x": 2})], store, quiet=True)
    assert store.records["a"] == {"x": 2, "took": pytest.approx(0.0, abs=0.1)}


def test_no_task_begins_after_the_deadline_and_the_rest_is_forecast(harness, tmp_path, monkeypatch):
    now = [0.0]

    def slow(store):
        now[0] += 6.0
        return {}

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    store = harness.Store(tmp_path / "run.json", {}, {})
    tasks = [harness.Task(name, slow, expected) for name, expected in (("a", 2.0), ("b", 4.0), ("c", 5.0), ("d", 1.0))]
    assert harness.forecast(tasks, store) == 12.0
    assert harness.run_tasks(tasks, store, quiet=True, deadline=10.0), "cut is not interrupted"
    assert [task.key for task in harness.unfinished(tasks, store)] == ["c", "d"]
    assert harness.forecast(tasks, store) == 12.0, "12 s for 6 expected, 6 are left"


def test_json_is_whole_or_not_written(harness, tmp_path):
    path = tmp_path / "kept.json"
    harness.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        harness.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_lists_of_numbers_take_a_line_and_read_back(harness, tmp_path):
    content = {
        "samples": [1.5, 2e-9, None],
        "empty": [],
        "pairs": [[1, 2], [3, 4]],
        "words": ["[\n1\n]", "b"],
        "of": [{"a": [1]}],
    }
    path = tmp_path / "kept.json"
    harness.write_json(path, content)
    assert json.loads(path.read_text()) == content
    assert ' "samples": [1.5, 2e-09, null],' in path.read_text().splitlines()


def test_comparison_of_two_results(harness):
    def result(**records):
        return {"records": {k: {"seconds": harness.Timing(*v, 5).record()} for k, v in records.items()}}

    new = result(a=(1.0, 0.9, 1.1), b=(1.0, 0.9, 1.1), c=(1.0, 1.0, 1.0))
    old = result(a=(2.0, 1.9, 2.1), b=(1.05, 0.9, 1.2))
    rows = harness.compare(new, old)
    assert [(r["key"], r["ratio"], r["apart"]) for r in rows] == [("a", 2.0, True), ("b", 1.05, False)]


def test_a_journal_goes_on_and_drops_the_line_cut_short(harness, tmp_path):
    path = tmp_path / "cells.jsonl"
    journal = harness.Journal(path, {"benchmark": "x"}, {"sizes": 1})
    journal.put("a", {"x": 1})
    journal.put("b", {"x": 2})
    path.write_text(path.read_text() + '{"key": "c", "rec')
    journal = harness.Journal(path, {}, {"sizes": 1})
    assert (journal.resumed, journal.records) == (2, {"a": {"x": 1}, "b": {"x": 2}})
    journal.put("d", {"x": 3})
    assert [json.loads(line).get("key") for line in path.read_text().splitlines()] == [None, "a", "b", "d"]
    assert harness.Journal(path, {}, {"sizes": 2}).resumed == 0, "another setting starts anew"
    journal.finish()
    assert not path.exists()


def test_samples_are_kept_on_request(harness):
    timing = harness.summarize([3.0, 1.0, 2.0])
    assert "samples" not in timing.record()
    assert timing.record(samples=True)["samples"] == [3.0, 1.0, 2.0]


def test_a_sample_is_the_mean_of_as_many_calls_as_fit(harness, monkeypatch):
    calls = []
    now = [0.0]

    def call():
        calls.append(1)
        now[0] += 0.5

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    assert harness.sample(call, 4.0) == 0.5
    assert len(calls) == 2 + 8
    assert harness.sample(call, 0.1) == 0.5


def test_pinning_holds_for_every_thread_and_is_undone(harness):
    import os

    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins no threads")
    before = os.sched_getaffinity(0)
    with harness.pinned(1) as chosen:
        assert len(chosen) == 1
        assert os.sched_getaffinity(0) == set(chosen) <= before
    assert os.sched_getaffinity(0) == before
    assert harness.cores(10**6) == sorted(before)


def test_a_loaded_machine_and_many_wide_spreads_are_told(harness):
    times = {str(i): {"seconds": {"noise": "noisy"} if i < 2 else {}} for i in range(10)}
    result = {"machine": {"load": 0.1, "cores": 2}, "records": times}
    assert harness.noise(result) == "2 of 10 measurements are noisy"
    assert harness.noise({"machine": {"load": 0.1, "cores": 2}, "records": {"a": {"seconds": {}}}}) == ""
    assert "load average 3.0 on 2 cores" in harness.noise({"machine": {"load": 3.0, "cores": 2}, "records": {}})


def test_an_earlier_result_is_read_before_any_work(harness, tmp_path):
    import argparse

    path = tmp_path / "old.json"
    path.write_text('{"records": {}}')
    assert harness.earlier(str(path)) == {"records": {}}
    for text in ("{", "[]", '{"x": 1}'):
        path.write_text(text)
        with pytest.raises(argparse.ArgumentTypeError, match="expected a result's JSON file, got"):
            harness.earlier(str(path))
