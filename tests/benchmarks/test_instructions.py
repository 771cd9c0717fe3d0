"""Instruction counts: the driver converges and counts what repeats; growth over the baseline fails the check."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++ on this machine")

needs_valgrind = pytest.mark.skipif(not shutil.which("valgrind"), reason="no valgrind on this machine")


@pytest.fixture
def instructions():
    from python_benchmarks import instructions

    return instructions


def counted(**cases):
    return {
        "compiler": "g++ 1.0", "valgrind": "3", "library": "glibc 2", "kernels": "avx2",
        "cases": {name: {"instructions": n, "iterations": 1, "residual": 0.0} for name, n in cases.items()},
    }  # fmt: skip


def test_total_of_a_profile(instructions):
    assert instructions.total("events: Ir\nfn=x\n1 2\n\ntotals: 1234567\n") == 1234567
    with pytest.raises(RuntimeError, match="counted nothing"):
        instructions.total("events: Ir\nsummary: 0\n")


def test_growth_above_the_limit_is_named(instructions):
    old = counted(a=1000, b=1000, c=1000)
    new = counted(a=1050, b=1051, c=900, d=5)
    assert instructions.grown(new, old) == [
        "b: +5.1%, 1,000 -> 1,051",
        "d: not in the baseline; take it anew with --take",
    ]


def test_check_against_the_baseline_of_this_compiler(instructions, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(instructions, "RESULTS", tmp_path)
    monkeypatch.setattr(instructions, "compiler_version", lambda: "g++ 1.0")
    monkeypatch.setattr(instructions, "measure", lambda only: counted(a=1000))
    assert instructions.main(["--check"]) == 2
    assert "no baseline for g++ 1.0 (there is: none); make one with --take" in capsys.readouterr().out
    path = tmp_path / "instructions-g++-1.0.json"
    path.write_text(json.dumps(counted(a=980)))
    assert instructions.main(["--check"]) == 0
    path.write_text(json.dumps(counted(a=900)))
    assert instructions.main(["--check"]) == 1
    assert "a: +11.1%" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        instructions.main(["--check", "--take"])


@pytest.mark.slow
@needs_valgrind
def test_no_case_needs_over_five_percent_more_than_the_baseline(instructions):
    path = instructions.baseline_path(instructions.compiler_version())
    if not path.exists():
        pytest.skip(f"no baseline for {instructions.compiler_version()}; instructions --take makes one")
    old = json.loads(path.read_text())
    assert len(old["cases"]) == 10
    assert instructions.grown(instructions.measure(quiet=True), old) == []


@pytest.mark.slow
@needs_valgrind
def test_counts_repeat_and_belong_to_converged_solves(instructions):
    """Every case of the driver converges; two counts of one case agree to a thousandth, far below the limit."""
    first, again = (instructions.measure(["unbalanced"], quiet=True) for _ in range(2))
    assert list(first["cases"]) == ["unbalanced forward", "unbalanced backward"]
    for name, record in first["cases"].items():
        assert record["residual"] <= (1e-9 if name.endswith("forward") else 1e-6)
        assert record["instructions"] > 128 * 128
        assert again["cases"][name]["instructions"] == pytest.approx(record["instructions"], rel=1e-3)
    with pytest.raises(ValueError, match="no case begins with nothing; there are square forward"):
        instructions.measure(["nothing"], quiet=True)
