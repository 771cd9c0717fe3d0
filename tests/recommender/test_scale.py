"""Memory grows with the ratings, not with the pairs: shapes of the large public data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MUSIC = (15_400, 1_000, 311_704)
KUAIREC = (7_176, 10_728, 12_500_000)


def fit(shape: tuple[int, int, int], system: str, batch_size: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "python_benchmarks._large_fit", *map(str, shape), system, str(batch_size)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=900, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    return found["memory"], found["processor_seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["ips-wbm", "dr-wbm"])
def test_one_pass_over_music_shaped_ratings(system: str) -> None:
    """Batches of 1,024 + 1,024 pairs, transport included: 30 s of two processors, so that other load does not count."""
    memory, seconds = fit(MUSIC, system, 1024)
    assert memory < 2048
    assert seconds < 60


@pytest.mark.slow
def test_memory_of_a_kuairec_shaped_fit() -> None:
    memory, _ = fit(KUAIREC, "multi-dr", 65_536)
    assert memory < 2048


def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    """As many ratings in a space 400 times as large: the embeddings' share only, not 6.4 GB for a float a pair."""
    small, _ = fit((1_000, 4_000, 20_000), "multi-ips", 4096)
    large, _ = fit((20_000, 80_000, 20_000), "multi-ips", 4096)
    assert large - small < 100
