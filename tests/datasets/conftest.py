"""Where the real data sets are, and a small stand-in for Coat that needs none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def real_root() -> Callable[[str], Path]:
    """Function from the name of a data set to the folder of its real files; skips without WBM_DATA."""
    parent = os.environ.get("WBM_DATA")

    def find(name: str) -> Path:
        if not parent:
            pytest.skip("WBM_DATA is not set")
        folder = Path(parent) / name
        assert folder.is_dir(), f"WBM_DATA is set, but {folder} is not a folder"
        return folder

    return find


@pytest.fixture
def coat_root(real_root: Callable[[str], Path]) -> Path:
    """Folder of the real Coat files."""
    return real_root("coat")


@pytest.fixture
def imitation_root(tmp_path: Path) -> Path:
    """Folder of files with Coat's names and shapes and other content."""
    rng = np.random.default_rng(0)
    tables = {
        "train.ascii": rng.integers(0, 6, (290, 300)),
        "test.ascii": rng.integers(0, 6, (290, 300)),
        "user_features.ascii": rng.integers(0, 2, (290, 14)),
        "item_features.ascii": rng.integers(0, 2, (300, 33)),
        "propensities.ascii": rng.uniform(0.01, 1, (290, 300)),
    }
    folder = tmp_path / "coat"
    folder.mkdir()
    for filename, table in tables.items():
        np.savetxt(folder / filename, table, fmt="%.6g")
    return folder
