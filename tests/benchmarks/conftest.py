"""The benchmarks are run from a checkout, not installed: the repository root goes on the path for these tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(autouse=True)
def _one_thread():
    """Torch's peers wait for threads that a busy machine does not give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
