"""A run that goes on where a task kills its process, hangs, or takes the device with it."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest

CHILD = textwrap.dedent("""
    import json, os, sys, time
    from pathlib import Path

    partial, tasks = Path(sys.argv[1]), sys.argv[2:]
    content = json.loads(partial.read_text()) if partial.exists() else {"records": {}}

    def write():
        partial.with_suffix(".new").write_text(json.dumps(content))
        partial.with_suffix(".new").replace(partial)

    for task in tasks:
        if task in content["records"]:
            continue
        content["running"] = task
        write()
        if task == "dies":
            os.abort()
        if task == "hangs":
            time.sleep(1000)
        content.pop("running")
        content["records"][task] = {"final": True, "error": "illegal"} if task == "loses" else {}
        write()
        if task == "loses":
            sys.exit(70)
    sys.exit(1 if "badly" in tasks else 0)
""")


@pytest.fixture
def run(tmp_path):
    from python_benchmarks import supervised

    script, partial = tmp_path / "child.py", tmp_path / "partial.json"
    script.write_text(CHILD)

    def go(*tasks):
        code = supervised.run([sys.executable, str(script), str(partial), *tasks], partial, minutes=1.0, limit=2.0)
        return code, json.loads(partial.read_text())["records"]

    return go


def test_lost_tasks_do_not_lose_the_others(run):
    code, records = run("first", "dies", "hangs", "loses", "last")
    assert code == 0
    assert list(records) == ["first", "dies", "hangs", "loses", "last"]
    assert records["first"] == records["last"] == {}
    assert records["dies"]["error"].startswith("the process died")
    assert records["hangs"]["error"] == "no end within 2 s, killed"
    assert all(records[name]["final"] for name in ("dies", "hangs", "loses"))


def test_the_exit_code_is_the_childs(run):
    assert run("badly")[0] == 1


def test_a_child_that_never_begins_ends_the_run(tmp_path, capsys):
    from python_benchmarks import supervised

    command = [sys.executable, "-c", "import os; os.abort()"]
    assert supervised.run(command, tmp_path / "none.json", 1.0, 5.0) == 1
    assert "outside any task: the process died" in capsys.readouterr().err


def test_the_harness_marks_what_is_under_way(tmp_path):
    from python_benchmarks import _harness as harness

    path, seen = tmp_path / "run.json", []

    def look(store):
        seen.append(json.loads(path.read_text())["running"])
        return {}

    def fail(store):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    tasks = [harness.Task("a", look), harness.Task("b", fail), harness.Task("c", look)]
    store = harness.Store(path, {}, {})
    with pytest.raises(harness.Lost, match="b"):
        harness.run_tasks(tasks, store, quiet=True, marks=True, lost=lambda: "b" in store.content.get("running", ""))
    assert json.loads(path.read_text())["records"]["b"]["final"]
    again = harness.Store(path, {}, {})
    assert [task.key for task in harness.unfinished(tasks, again)] == ["c"]
    assert harness.run_tasks(tasks, again, quiet=True, marks=True)
    assert seen == ["a", "c"]
    assert "running" not in json.loads(path.read_text())


def test_a_deadline_is_that_of_the_run(monkeypatch):
    import time

    from python_benchmarks import supervised

    monkeypatch.delenv(supervised.END, raising=False)
    assert supervised.deadline() == float("inf")
    monkeypatch.setenv(supervised.END, str(time.time() + 100.0))
    assert 90.0 < supervised.deadline() - time.monotonic() <= 100.0
