"""The GPU commands on a machine without one: they say so; and their code, run on the CPU in the place of the device."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu():
    from python_benchmarks.gpu import device

    return device


@pytest.fixture
def checks():
    from python_benchmarks.gpu import checks

    return checks


@pytest.fixture
def times():
    from python_benchmarks.gpu import times

    return times


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_the_command_says_so():
    call = [sys.executable, "-m", "python_benchmarks.gpu"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU run: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("command", ["checks", "sanitize"])
def test_without_a_gpu_its_parts_say_so(command, capsys):
    part = importlib.import_module(f"python_benchmarks.gpu.{command}")
    assert part.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("no GPU run: ")


def test_what_is_missing_is_named(gpu, monkeypatch):
    built = {"cuda_architectures": None}
    monkeypatch.setattr(gpu.wbm_ext, "build_info", lambda: built)
    assert "built without CUDA kernels" in gpu.missing()
    built["cuda_architectures"] = "90"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device" in gpu.missing()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.missing() == ""


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Tesla T4", "t4"),
        ("NVIDIA", "gpu"),
    ],
)
def test_names_of_files(gpu, name, short):
    assert gpu.short_name(name) == short


def test_new_tensors_are_poisoned(checks):
    with checks.poisoned():
        assert torch.empty(3).isnan().all()
        assert (torch.empty(3, dtype=torch.uint8) == 255).all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_checks_are_right_where_the_solver_is(checks):
    """Float32 and float64 of the CPU solver in the place of the device's."""
    wrong, count = checks.run(11, checks.cases(small=True), "cpu")
    assert wrong == []
    assert count == 102


@pytest.mark.parametrize("name", ["cost", "regularized", "f", "g", "dD", "da", "db"])
def test_a_wrong_answer_is_told(checks, monkeypatch, name):
    case = checks.Case("tiny", "unbalanced", "product", torch.float32, "implicit", holes=True)
    sound, calls = checks.answer, []

    def faulty(*arguments):
        found = sound(*arguments)
        calls.append(found)
        return found if len(calls) == 1 else found | {name: found[name] * 1.002}  # the first is the reference

    assert checks.check(case, 3, "cpu")["right"]
    monkeypatch.setattr(checks, "answer", faulty)
    found = checks.check(case, 3, "cpu")
    assert not found["right"]
    assert found["errors"][name] == pytest.approx(2e-3, rel=0.1)


def test_an_unwritten_or_changing_answer_is_told(checks, monkeypatch):
    case = checks.Case("tiny", "balanced", "entropy", torch.float64, "implicit", holes=True)
    sound, calls = checks.answer, []

    def unwritten(*arguments):
        found = sound(*arguments)
        calls.append(found)
        return found if len(calls) == 1 else found | {"da": torch.full_like(found["da"], float("nan"))}

    def changing(*arguments):
        found = sound(*arguments)
        calls.append(found)
        return found if len(calls) < 3 else found | {"da": found["da"] * (1 + 1e-15)}

    monkeypatch.setattr(checks, "answer", unwritten)
    assert checks.check(case, 3, "cpu")["errors"]["da"] == float("inf")
    calls.clear()
    monkeypatch.setattr(checks, "answer", changing)
    found = checks.check(case, 3, "cpu")
    assert not found["same_bits_twice"]
    assert not found["right"]


def test_every_regime_gradient_and_type_is_checked(checks):
    cases = list(checks.cases(small=False))
    assert len({case.name for case in cases}) == len(cases)
    assert {case.size for case in cases} == set(checks.SIZES)
    for size in checks.SIZES:
        here = [case for case in cases if case.size == size]
        assert {case.grad for case in here} >= ({"implicit"} if size == "many" else {"implicit", "unrolled"})
        assert {case.dtype for case in here} >= {torch.float32, torch.float64}
    assert {case.dtype for case in cases} == set(checks.LIMITS)
    assert {case.criterion for case in cases} == {"marginal", "scaling"}
    names = {task.key for task in checks.tasks(1, small=False)}
    assert names == {f"check|{name}|wbm_ext" for name in [*(case.name for case in cases), checks.REPLAY]}


def test_what_the_sanitizer_runs_takes_every_road(checks):
    cases = list(checks.sanitized())
    assert {case.size for case in cases} == {"tiny", "cluster", "chip", "streamed"}
    assert all(case.most <= 12 for case in cases)
    small = [case for case in cases if case.size in ("tiny", "cluster")]
    assert checks.run(5, small, "cpu") == ([], len(small))


def test_a_case_that_fails_is_told_and_the_others_go_on(checks, monkeypatch):
    def failing(case, seed, device):
        if case.dtype == torch.float64:
            raise RuntimeError("wbm_ext: a CUDA launch was refused: too many resources\nmore")
        return {"right": True}

    monkeypatch.setattr(checks, "check", failing)
    wrong, count = checks.run(1, checks.cases(small=True), "cpu")
    assert 0 < len(wrong) < count
    assert wrong[0].endswith("float64, implicit, holes: wbm_ext: a CUDA launch was refused: too many resources")
    assert checks.verdict(checks.REPLAY, {"right": False}) == "a replayed CUDA graph and the eager call differ"


def test_the_sanitizer_runs_the_checks(monkeypatch):
    from python_benchmarks.gpu import sanitize

    line = sanitize.command("compute-sanitizer", "racecheck", 5)
    assert line[:3] == ["compute-sanitizer", "--tool", "racecheck"]
    assert line[line.index("-m") + 1 :] == ["python_benchmarks.gpu.checks", "--sanitized", "--seed", "5"]
    ran: list[list[str]] = []

    def finished(command, environment, limit):
        assert environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] == "1"
        assert limit == (200.0 if len(ran) < 3 else 600.0)
        ran.append(command)
        return sanitize.FOUND if "racecheck" in command else 0

    monkeypatch.setattr(sanitize.gpu, "missing", lambda: "")
    monkeypatch.setattr(sanitize, "program", lambda: "compute-sanitizer")
    monkeypatch.setattr(sanitize, "finished", finished)
    assert sanitize.main([]) == 1
    assert [command[2] for command in ran] == ["memcheck", "racecheck", "synccheck"]
    assert sanitize.main(["memcheck"]) == 0
    with pytest.raises(SystemExit):
        sanitize.main(["leakcheck"])
    monkeypatch.setattr(sanitize, "program", lambda: None)
    assert sanitize.main([]) == 2


def test_a_tool_that_does_not_end_is_killed_with_what_it_started(monkeypatch, tmp_path, capsys):
    from python_benchmarks.gpu import sanitize

    pids, code = tmp_path / "pid", "import os, subprocess, sys; child = subprocess.Popen(['sleep', '1000']); "
    code += f"open({str(pids)!r}, 'w').write(str(child.pid)); child.wait()"
    monkeypatch.setattr(sanitize.gpu, "missing", lambda: "")
    monkeypatch.setattr(sanitize, "program", lambda: "compute-sanitizer")
    monkeypatch.setattr(sanitize, "command", lambda *_: [sys.executable, "-c", code])
    assert sanitize.main(["memcheck", "--minutes", "0.25"]) == 1  # a busy machine may take seconds to start
    assert "memcheck: no end within 15 s, killed" in capsys.readouterr().out
    deadline = time.monotonic() + 20
    while running(int(pids.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(int(pids.read_text()))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def tiny(times, monkeypatch):
    """Every row of the table at sizes that a CPU does in no time."""
    for name, value in {
        "PER_ITERATION": {8: 1.5e-6},
        "BANDWIDTH": {16: 0.8},
        "BATCH": (4, 8, 3, 1.0),
        "WBM_SHAPES": ((12, 10),),
        "BACKWARD": (8,),
        "FEW": 2,
        "MANY": 6,
    }.items():
        monkeypatch.setattr(times, name, value)
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    monkeypatch.setattr(times, "copy_bandwidth", lambda settings: 1e9)
    return times.Settings(budget=0.0, quick=False, seed=1, device="cpu")


def test_every_row_runs(times, tiny):
    rows = times.tasks(tiny)
    assert [row.key.split("|")[0] for row in rows] == [
        "iteration", "bandwidth", "batch", *["wbm"] * 4, "backward"
    ]  # fmt: skip
    for row in rows:
        record = row.run(SimpleNamespace(records={}))
        json.dumps(record)
        assert isinstance(record["met"], bool)
        assert record["goal"] > 0
        assert times.line(row.key, record).rsplit(", ", 1)[1] in ("met", "not met")
    assert times.line("a|b|c", {"error": "no room"}) == "a, b, c: no room"
    assert len(times.tasks(replace(tiny, quick=True))) < len(rows)


@pytest.mark.filterwarnings("ignore:Sinkhorn did not converge")
def test_a_solve_that_misses_its_residual_misses_its_goal(times, tiny, monkeypatch):
    monkeypatch.setattr(times, "WBM", {0.05: 1e9})
    assert times.wbm((12, 10), 0.05, torch.float64, tiny)["met"]
    monkeypatch.setattr(times, "MOST", 1)
    assert not times.wbm((12, 10), 0.05, torch.float64, tiny)["met"]


def test_a_size_whose_checks_fail_is_timed_and_meets_no_goal(times, tiny):
    store = SimpleNamespace(records={"check|block, balanced, entropy, float32, implicit|wbm_ext": {"right": False}})
    row = next(row for row in times.tasks(tiny) if row.key.startswith("batch|"))
    record = row.run(store)
    assert record["seconds"]["median"] > 0
    assert not record["met"]
    assert "not met (1 checks of its size failed, first: block, balanced" in times.line(row.key, record)
    assert [times.checked_as(n) for n in (64, 224, 512, 1024)] == ["block", "block", "cluster", "chip"]


def test_the_command_from_checks_to_file(times, tiny, checks, monkeypatch, tmp_path, capsys):
    from python_benchmarks import supervised
    from python_benchmarks.gpu import __main__ as command

    sound, found = times.Settings, {"right": True}
    monkeypatch.setenv(supervised.CHILD, "1")
    monkeypatch.setattr(times, "Settings", lambda *arguments: replace(sound(*arguments), budget=0.0, device="cpu"))
    monkeypatch.setattr(command.gpu, "missing", lambda: "")
    monkeypatch.setattr(command.gpu, "describe", lambda: {"gpu": "NVIDIA H100 80GB HBM3"})
    monkeypatch.setattr(command, "HERE", tmp_path / "python_benchmarks")
    monkeypatch.setattr(checks, "check", lambda case, seed: dict(found))
    monkeypatch.setattr(checks, "replay", lambda seed: {"right": True})
    line = ["--seed", "4", "--partial", str(tmp_path / "partial.json")]
    code = command.main(line)
    (path,) = (tmp_path / "python_benchmarks" / "results").iterdir()
    assert path.name.startswith("gpu-h100-")
    found = json.loads(path.read_text())
    assert found["command"] == "python -m python_benchmarks.gpu --seed 4 --budget 1"
    assert found["machine"]["gpu"] == "NVIDIA H100 80GB HBM3"
    timings = {key: record for key, record in found["records"].items() if not key.startswith("check|")}
    assert len(timings) < len(found["records"])
    assert code == int(not all(record["met"] for record in timings.values()))
    assert "0 of" not in capsys.readouterr().out
    found |= {"right": False, "errors": {"dD": 0.5}, "limit": 1e-3, "same_bits_twice": True}
    assert command.main(line) == 1
    text = capsys.readouterr().out
    assert "dD off by 5.0e-01, limit 1e-03" in text
    assert "checks of its size failed" in text
    assert command.main([*line[:2], "--out", str(tmp_path / "new" / "folder")]) == 1
    assert list((tmp_path / "new" / "folder").glob("gpu-h100-*.json"))


def test_the_command_watches_a_child(monkeypatch, tmp_path, capsys):
    from python_benchmarks import supervised
    from python_benchmarks.gpu import __main__ as command

    asked = []
    monkeypatch.setattr(command.gpu, "missing", lambda: "")
    monkeypatch.setattr(supervised, "run", lambda *arguments: asked.append(arguments) or 1)
    partial = tmp_path / "partial.json"
    assert command.main(["--quick", "--minutes", "3", "--partial", str(partial)]) == 1
    ((line, path, minutes, limit),) = asked
    assert line[1:4] == ["-m", "python_benchmarks.gpu", "--quick"]
    assert (path, minutes, limit) == (partial, 3.0, 120.0)
    assert f"seed {line[-1]}" in capsys.readouterr().out
