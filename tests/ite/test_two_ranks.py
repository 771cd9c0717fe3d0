"""Two processes that share each batch end with the treatment-effect model of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import two_ranks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, two_ranks.__file__, str(folder)], env=environment, text=True, capture_output=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", two_ranks.NAMES)
def test_two_processes_end_with_the_model_of_one(name: str, folder: Path) -> None:
    alone = two_ranks.fit(name).effect(two_ranks.data()[0])
    for rank in range(2):
        np.testing.assert_allclose(np.load(folder / f"{name}-{rank}.npy"), alone, rtol=1e-6, atol=1e-8)
