"""The peers' benchmark for CUDA on a machine without: its arguments, who is picked, and its adapters on CPU tensors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command():
    from python_benchmarks.peers import __main__ as command

    return command


@pytest.fixture
def limits():
    from python_benchmarks.peers.subjects import Limits

    return Limits(budget=0.002, cap=60.0, most=20_000)


@pytest.fixture
def loop_as_it_stands(monkeypatch):
    """Torch's loop without the wait for a compiler."""
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)


@pytest.fixture
def curegot(monkeypatch):
    """The interface of cuRegOT's torch module, solved by this package: float64 only, the plan in a dictionary."""
    import wbm_ext

    def solve(M, a, b, reg, tol=1e-6, max_iter=1000, verbose=0):
        assert {x.dtype for x in (M, a, b)} == {torch.float64}
        found = wbm_ext.solve(M, a, b, epsilon=reg, tol=tol, max_iter=max_iter)
        return {"niter": int(found.iterations), "plan": found.plan, "dual": torch.cat([found.f, found.g])}

    module = ModuleType("curegot")
    module.torch = SimpleNamespace(sinkhorn_bcd=solve, sinkhorn_splr=solve)
    monkeypatch.setitem(sys.modules, "curegot", module)


@pytest.fixture
def flash_sinkhorn(monkeypatch):
    """The alternating solver of FlashSinkhorn, solved by this package: points in, (f, g) of P = exp((f + g - D)/ε) out."""
    import wbm_ext
    from wbm_ext.losses import squared_distances

    def solve(x, y, a, b, *, eps, n_iters, allow_tf32, threshold, check_every, ott_convention):
        assert ott_convention
        D = squared_distances(x, y) * (1.002 if allow_tf32 else 1.0)  # a cost that is rounded is another cost
        tol = 0.0 if threshold is None else threshold / eps
        found = wbm_ext.solve(D, a, b, epsilon=eps, tol=tol, max_iter=n_iters)
        return found.f, found.g

    package, module = ModuleType("flash_sinkhorn"), ModuleType("flash_sinkhorn.sinkhorn_solvers")
    module.sinkhorn_flashstyle_alternating = solve
    monkeypatch.setitem(sys.modules, "flash_sinkhorn", package)
    monkeypatch.setitem(sys.modules, "flash_sinkhorn.sinkhorn_solvers", module)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_the_command_says_so(tmp_path):
    call = [
        sys.executable,
        "-m",
        "python_benchmarks.peers",
        "--device",
        "cuda",
        "--partial",
        str(tmp_path / "run.json"),
    ]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU run: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--section", "points"], "--section must be one of iterations,.* with --device cpu, got points"),
        (
            ["--device", "cuda", "--section", "tight"],
            "one of graph, residual, points, batch with --device cuda, got tight",
        ),
        (["--seed", "3"], "--seed is for --device cuda"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_arguments_that_do_not_fit_the_device(command, line, message, capsys):
    with pytest.raises(SystemExit):
        command.main(line)
    assert re.search(message, capsys.readouterr().err)


def names(device, which="single"):
    from python_benchmarks.peers.loaded import load

    return {p.name for p in getattr(load(), which) if device in p.devices}


def test_who_is_picked_for_which_device():
    from python_benchmarks.peers import with_torch

    assert {"POT sinkhorn, numpy", "POT sinkhorn, torch", "GeomLoss ot.solve", with_torch.NAME} <= names("cpu")
    assert names("cpu") - names("cuda") == {
        *(f"POT {x}, numpy" for x in ("sinkhorn", "sinkhorn_stabilized", "sinkhorn_log")),
        *("RegOT SSNS", "RegOT SPLR"),
    }
    assert names("cuda") - names("cpu") == {"cuRegOT BCD", "cuRegOT SPLR"}
    assert names("cuda", "points") == {"FlashSinkhorn, TF32", "FlashSinkhorn, float32"}
    assert names("cpu", "points") == set()
    assert names("cpu", "batch") - names("cuda", "batch") == {
        "POT solve_batch, sinkhorn, autodiff", "POT solve_batch, sinkhorn, envelope", "POT solve_batch, sinkhorn, last_step"
    }  # fmt: skip


def test_who_is_left_out_on_cuda_is_named(command, monkeypatch):
    from python_benchmarks.peers import registry

    here = registry.importlib.util.find_spec
    absent = ("curegot", "flash_sinkhorn")
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None if name in absent else here(name))
    found = command.left_out("cuda")
    assert {"curegot is not installed", "flash-sinkhorn is not installed"} <= set(found)
    assert not any("pot" in line.lower().split() for line in found)  # its numpy form is no loss: torch's is there
    assert {"curegot runs on CUDA only", "flash-sinkhorn runs on CUDA only"} <= set(command.left_out("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_jax_without_a_gpu_is_left_out():
    pytest.importorskip("ott", reason="OTT-JAX is not installed")
    from python_benchmarks.peers.with_ott import no_gpu

    assert no_gpu("cpu") == ""
    assert "jax finds no GPU" in no_gpu("cuda")


def subject(name, which="single"):
    from python_benchmarks.peers.loaded import load

    found = next(p for p in getattr(load(), which) if p.name.startswith(name))
    if reason := replace(found, devices=("cpu",)).absent():
        pytest.skip(reason)
    return found


MANY = ["POT batch, sinkhorn", "POT batch, log_sinkhorn", "OTT-JAX vmap", "torch logsumexp"]


@pytest.mark.usefixtures("loop_as_it_stands")
@pytest.mark.parametrize("name", MANY)
def test_batches_equal_the_reference_and_achieve_the_residual(limits, name):
    from python_benchmarks._problems import clouds
    from python_benchmarks.peers.subjects import fixed, to_residual

    peer, problem = subject(name), clouds(12, 0.05, 3, "float64", 4)
    assert peer.many
    record = fixed(peer, problem, 30, limits)
    assert record["distance"] < 1e-10
    record = to_residual(peer, problem, 1e-9, limits)
    assert record["reached"]
    assert record["seconds"]["repeats"] >= 1


def test_geomloss_solves_batches(limits):
    from python_benchmarks._problems import clouds
    from python_benchmarks.peers.subjects import check

    problem = clouds(12, 0.05, 3, "float64", 4)
    run = subject("GeomLoss ot.solve_batch").prepare(problem, 0.0, 400, "cpu")
    assert "wrong" not in check(run.plan(run.call()), problem)


@pytest.mark.usefixtures("curegot")
@pytest.mark.parametrize("name", ["cuRegOT BCD", "cuRegOT SPLR"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_curegot_gets_float64_and_its_plan_is_read(monkeypatch, limits, name, kind):
    from python_benchmarks._problems import clouds
    from python_benchmarks.peers import registry
    from python_benchmarks.peers.subjects import to_residual

    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: object())
    record = to_residual(subject(name), clouds(16, 0.05, 0, kind), 1e-9, limits)
    assert record["reached"]


@pytest.mark.usefixtures("flash_sinkhorn", "curegot", "loop_as_it_stands")
def test_every_row_runs_on_cpu_tensors(command, monkeypatch, limits):
    """All sections of CUDA with every adapter, the CPU in the place of the device."""
    from python_benchmarks.peers import batches, goals, on_cuda, points, registry
    from python_benchmarks.peers.options import Options

    find, given = registry.importlib.util.find_spec, ("curegot", "flash_sinkhorn")
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: object() if name in given else find(name))

    def present(peers, options):
        slow = ("ott-jax", "mdot-tnt")  # to compile, to solve; tested apart from this
        some = [p for p in peers if "cuda" in p.devices and p.package not in slow]
        return [p for p in some if not replace(p, devices=("cpu",)).absent()]

    for module in (batches, on_cuda, points):
        monkeypatch.setattr(module, "present", present)
    options = Options(quick=True, sizes=(12,), first_seed=5, limits=limits)
    sections = command.ON_CUDA
    records = {task.key: task.run(None) for make in sections.values() for task in make(options)}
    json.dumps(records)
    timed = {key for key, record in records.items() if "seconds" in record}
    for section in (
        "graph|n=12, float32",
        "residual|n=12, float64",
        "residual|16 of 32 x 32, float32",
        "points|n=12, float32",
    ):
        assert f"{section}|wbm_ext" in timed
    assert {key.split("|")[0] for key in timed} == set(sections)
    assert records["points|n=12, float32|FlashSinkhorn, TF32"]["reached"] is False
    assert "points|n=12, float32|FlashSinkhorn, float32" in timed
    assert any(key.startswith("graph|") and "in a CUDA graph" in key for key in timed)
    found = {v.section: v for v in goals.verdicts(records) if v.section in goals.ON_CUDA}
    assert {name: v.goal for name, v in found.items()} == {"graph": 3.0, "residual": 20.0, "points": 1.0}
    assert all(v.value is not None and v.peer for v in found.values())


def test_the_command_from_arguments_to_file(command, monkeypatch, tmp_path, capsys, loop_as_it_stands):
    from python_benchmarks import supervised
    from python_benchmarks.peers import on_cuda
    from python_benchmarks.peers.subjects import Limits

    monkeypatch.setenv(supervised.CHILD, "1")
    monkeypatch.setattr(command.gpu, "missing", lambda: "")
    described = {"gpu": "NVIDIA H100 80GB HBM3", "multiprocessors": 132, "cuda": "13.0"}
    monkeypatch.setattr(command.gpu, "describe", lambda: described)
    asked = []

    def on_the_cpu(**options):
        asked.append(options["device"])
        return Limits(**options | {"device": "cpu"})

    monkeypatch.setattr(command, "Limits", on_the_cpu)
    monkeypatch.setattr(command, "HERE", tmp_path / "python_benchmarks")
    monkeypatch.setattr(on_cuda, "ITERATIONS", 5)
    line = ["--device", "cuda", "--quick", "--section", "graph", "--sizes", "8", "--seed", "7", "--save"]
    assert command.main([*line, "--budget", "0.002", "--partial", str(tmp_path / "partial.json")]) == 0
    assert asked == ["cuda"]
    (path,) = (tmp_path / "python_benchmarks" / "results").iterdir()
    assert path.name.startswith("peers-h100-")
    found = json.loads(path.read_text())
    assert found["command"] == (
        "python -m python_benchmarks.peers --device cuda --section graph --quick --sizes 8 --seed 7"
    )
    assert found["setting"]["first_seed"] == 7
    assert found["machine"]["gpu"] == described["gpu"]
    text = capsys.readouterr().out
    assert "NVIDIA H100" in text


def test_the_command_watches_a_child(command, monkeypatch, tmp_path, capsys):
    from python_benchmarks import supervised

    asked = []
    monkeypatch.setattr(command.gpu, "missing", lambda: "")
    monkeypatch.setattr(supervised, "run", lambda *arguments: asked.append(arguments) or 0)
    partial = tmp_path / "partial.json"
    assert command.main(["--device", "cuda", "--save", "--seed", "7", "--partial", str(partial)]) == 0
    ((line, path, minutes, limit),) = asked
    assert line[1:6] == ["-m", "python_benchmarks.peers", "--device", "cuda", "--save"]
    assert line[-2:] == ["--seed", "7"]
    assert (path, minutes, limit) == (partial, 10.0, 150.0)
    assert "seed 7" in capsys.readouterr().out


def test_sections_take_turns(command):
    from python_benchmarks._harness import Task
    from python_benchmarks.peers.options import Options

    def make(name, count):
        return lambda options: [Task(f"{name}{k}", lambda store: {}) for k in range(count)]

    tasks, turns = command.listed({"a": make("a", 3), "b": make("b", 1)}, Options())
    assert [task.key for task in tasks] == ["a0", "a1", "a2", "b0"]
    assert [task.key for task in turns] == ["a0", "b0", "a1", "a2"]


def test_a_module_within_a_package_that_is_missing_is_missing():
    from python_benchmarks.peers.registry import installed

    assert installed("json.decoder")
    assert not installed("json.no_such_module")
    assert not installed("no_such_package.batch")


def test_events_are_asked_for_on_a_device(monkeypatch):
    """Off the CPU each call is timed by ``elapsed`` on that device, and a long one gives way after four budgets."""
    from python_benchmarks import _harness as harness
    from python_benchmarks.gpu.timing import timed

    asked = []
    monkeypatch.setattr(harness, "elapsed", lambda call, loops, device: asked.append((loops, device)) or 0.5)
    assert timed(lambda: None, 1.0, "cuda", least=20).repeats == 8
    assert set(asked) == {(1, "cuda")}
    assert timed(lambda: None, 1.0, "cuda", least=2).repeats == 2
    assert np.isclose(timed(lambda: None, 0.0, "cuda", most=3, least=1).median, 0.5)
