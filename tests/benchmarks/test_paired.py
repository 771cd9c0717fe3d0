"""Two builds in turns: ratios are of neighbours, exponents of the tight solves, and the command runs on two interpreters."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def paired():
    from python_benchmarks import paired

    return paired


def test_a_ratio_is_one_of_neighbours(paired):
    def timed(seconds):
        return {"a": {"seconds": seconds}}

    record = paired.summarised([(timed(1.0), timed(2.0)), (timed(10.0), timed(30.0)), (timed(2.0), timed(4.0))])["a"]
    assert record == {"seconds": 2.0, "other": 4.0, "ratio": 2.0, "low": 2.0, "high": 3.0}
    assert paired.summarised([(timed(1.0), {})])["a"] == {"seconds": 1.0}


def test_the_exponent_is_that_of_the_large_sizes(paired):
    records = {f"tight, eps=0.01, n={n}, 1 thread": {"seconds": 1e-9 * n**2} for n in (256, 512, 1024)}
    records |= {"tight, eps=0.01, n=64, 1 thread": {"seconds": 5.0}, "points, n=300, 1 thread": {"seconds": 1.0}}
    assert paired.exponents(records) == {"tight, eps=0.01, 1 thread": pytest.approx(2.0)}


def test_epsilon_is_that_of_the_peer_and_both_find_the_value(paired):
    pytest.importorskip("geomloss")
    assert pytest.approx(2 * paired.BLUR**2) == paired.EPSILON
    exact = paired.divergence(40, 1e-9)()
    assert paired.divergence(40)() == pytest.approx(exact, rel=1e-5)
    assert paired.samples_loss(40)() == pytest.approx(exact, rel=0.05)


@pytest.mark.slow
def test_the_command_runs_on_both_interpreters(paired, capsys):
    words = ["--against", sys.executable, "--quick", "--rounds", "1", "--seconds", "0.001", "--threads", "1"]
    assert paired.main([*words, "--only", "n=32", "--only", "call"]) == 0
    text = capsys.readouterr().out
    assert "tight, eps=0.01, n=32, 1 thread" in text
    assert "call, forward and backward, 1 thread" in text
