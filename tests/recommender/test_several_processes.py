"""Two processes with half a batch each end with the model of one process with the entire batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("several_processes.py")


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [sys.executable, str(SCRIPT), str(tmp_path / "1")]
    together = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(SCRIPT), str(tmp_path / "2")),
    ]
    for command in (alone, together):
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / name) for name in ("1", "2"))
    assert (one["processes"], two["processes"]) == (1, 2)
    for name, parameters in one["systems"].items():
        for key, value in parameters.items():
            torch.testing.assert_close(value, two["systems"][name][key], rtol=1e-6, atol=1e-9, msg=f"{name} {key}")
