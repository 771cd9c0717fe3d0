"""info, systems, data, bench, study and help; the exit codes of checks that fail."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys

import pandas
import pytest
import torch

from wbm_ext import datasets, ite, recommender
from wbm_ext.cli import checkout, runfile, selftest


def test_info_tests_the_installation(wbm):
    done = wbm("info", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    checks = report["self_test"]["cpu"]
    assert len(checks) > 50
    assert all(check["ok"] for check in checks)
    assert report["torch"] == torch.__version__
    assert "self_test" not in json.loads(wbm("info", "--json", "--no-test").stdout)
    for words in ("wbm_ext: ", "compiler: ", "cuda_architectures: ", "devices: cpu"):
        assert words in wbm("info", "--no-test").stdout


def test_info_fails_where_a_kernel_is_wrong(wbm, monkeypatch):
    right = selftest.sinkhorn

    def wrong(D, *masses, **options):  # the value is right, its slope is not
        value = right(D, *masses, **options)
        return value if options.get("cost") == "regularized" else value.detach() + 1.1 * (value - value.detach())

    monkeypatch.setattr(selftest, "sinkhorn", wrong)
    done = wbm("info")
    assert done.exit_code == 1
    assert "WRONG on cpu: balanced, entropy: implicit gradient" in done.stdout
    assert "regularized cost" not in done.stdout
    assert "do not trust" in done.stderr


def test_systems_lists_every_system(wbm):
    rows = json.loads(wbm("systems", "--json").stdout)
    assert [row["name"] for row in rows] == [*recommender.systems(), *ite.systems()]
    assert all(row["summary"] for row in rows)
    printed = wbm("systems").stdout
    assert all(name in printed for name in ("ips-wbm", "escfr", "causal-forest", "mean [o e + (1 - o) e^]"))


def test_data_lists_shows_and_checks(wbm, tmp_path):
    assert [row["name"] for row in json.loads(wbm("data", "list", "--json").stdout)] == list(datasets.NAMES)
    assert "coat" in wbm("data", "list").stdout
    assert datasets.describe("coat").splitlines()[0] in wbm("data", "show", "coat").stdout
    assert wbm("data", "check", "synthetic").exit_code == 0
    (tmp_path / "train.ascii").write_text("1 2 3\n")
    done = wbm("data", "check", "coat", "--root", tmp_path)
    assert done.exit_code == 1
    assert "changed: train.ascii" in done.stdout
    assert "missing: test.ascii" in done.stdout
    assert wbm("data", "check", "cout").exit_code == 2
    assert "did you mean 'coat'" in wbm("data", "fetch", "cout").stderr
    assert "is generated" in wbm("data", "fetch", "synthetic").stderr


def test_exported_tables_hold_the_data_set(wbm):
    assert "wrote 4766 rows to" in wbm("data", "export", "synthetic", "--out", "deep/tables").stdout
    expected = datasets.load("synthetic")
    for part in ("train", "test"):
        found = datasets.read_ratings(f"deep/tables/{part}.csv")
        assert found.observed_keys().tolist() == getattr(expected, part).observed_keys().tolist()
    assert wbm("data", "export", "synthetic-effects", "--format", "parquet").exit_code == 0
    units, expected = pandas.read_parquet("units.parquet"), datasets.load("synthetic-effects")
    assert units["treatment"].tolist() == expected.treatment.tolist()
    assert (units["mu1"] - units["mu0"]).mean() == pytest.approx(expected.ate())
    assert len(units.columns) == expected.X.shape[1] + 4
    assert "did you mean 'csv'" in wbm("data", "export", "synthetic", "--format", "cvs").stderr
    assert "--out must be a folder" in wbm("data", "export", "synthetic", "--out", "units.parquet").stderr


@pytest.mark.data
def test_data_check_accepts_the_registered_files(wbm):
    try:
        datasets.data_root(None, "coat")
    except datasets.files.MissingFileError:
        pytest.skip("WBM_DATA does not name a folder with coat")
    assert wbm("data", "check", "coat").exit_code == 0


def test_bench_and_study_run_the_modules_of_the_checkout(wbm, monkeypatch):
    assert "wbm bench peers: " in wbm("bench").stdout
    assert wbm("bench", "--help").stdout == wbm("bench").stdout
    listed = wbm("study").stdout
    assert "wbm study balance: " in listed
    assert "readme" not in listed
    assert "did you mean 'balance'" in wbm("study", "balanse").stderr
    calls = []

    def run(command, env, check):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(checkout.subprocess, "run", run)
    assert wbm("bench", "peers", "--quick", "--device", "cpu").exit_code == 1  # the code of the benchmark
    assert calls[0][1:] == ["-m", "python_benchmarks.peers", "--quick", "--device", "cpu"]


def test_study_runs_from_any_folder():
    command = [sys.executable, "-m", "wbm_ext", "study", "balance", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "--seeds" in done.stdout


def test_from_a_wheel_study_says_where_to_get_it(wbm, monkeypatch, tmp_path):
    monkeypatch.setattr(checkout.wbm_ext, "__file__", str(tmp_path / "wbm_ext" / "__init__.py"))
    done = wbm("study", "balance")
    assert done.exit_code == 2
    assert "get the source of version" in done.stderr


def test_every_command_and_option_has_a_help_text(wbm):
    from wbm_ext.cli.app import app

    verbs = [[command.callback.__name__] for command in app.registered_commands]
    verbs += [["data", verb] for verb in ("list", "show", "fetch", "check", "export")]
    assert len(verbs) > 13
    for words in verbs:
        done = wbm(*words, "--help")
        assert done.exit_code == 0
        assert len(done.stdout) > 60, words
    assert "install-completion" in wbm("--help").stdout


def test_examples_of_the_run_file():
    assert doctest.testmod(runfile).attempted
    assert doctest.testmod(runfile).failed == 0
