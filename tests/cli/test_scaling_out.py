"""The commands of the page on scaling out: two processes, a cluster started here, one large problem."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wbm_ext

ROOT = Path(wbm_ext.__file__).resolve().parents[1]
STUDY = ("--data", "synthetic", "--users", "40", "--items", "50", "--table", "3", "--systems", "naive,ips")
STUDY += ("--no-search", "--seeds", "2", "--epochs", "2", "--jobs", "2", "--no-progress")


def run(*command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], env=environment, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_fit_under_torchrun_gives_the_model_of_one_process(ratings):
    fit = ("-m", "wbm_ext", "fit", "train.csv", "--system", "ips-wbm", "--user", "u", "--item", "i", "--rating", "r")
    fit += ("-p", "epochs=2", "--no-progress", "--out")
    run(*fit, "one.pt")
    printed = run("-m", "torch.distributed.run", "--nproc-per-node", "2", *fit, "two.pt")
    assert printed.count("wrote two.pt") == 1  # by the first process alone
    one, two = (wbm_ext.load(path).predict([0] * 50, range(50)) for path in ("one.pt", "two.pt"))
    np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.slow
def test_a_study_on_a_cluster_started_here_gives_the_figures_of_one_process():
    for engine in ("loky", "dask"):
        run("-m", "python_benchmarks.recommendation", *STUDY, "--engine", engine, "--out", engine)
    one, two = (Path(engine, "report.md").read_text() for engine in ("loky", "dask"))
    assert one == two
    runs = [json.loads(line) for line in Path("dask/runs.jsonl").read_text().splitlines()]
    assert len(runs) == 4


def test_a_large_problem_tells_what_it_needs_beside_its_matrix():
    printed = run("-m", "python_benchmarks.large_problem", "--size", "1024")
    lines = printed.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["implicit", "frozen"]
    for line in lines:
        matrix, forward, gradient, own = (int(a or b) for a, b in re.findall(r"(\d+) MiB|is (\d+)\)", line))
        assert (matrix, own) == (4, 4)
        assert own <= gradient < 40 * matrix
        assert forward < 20 * matrix
