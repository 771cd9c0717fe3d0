"""The CPU solver on its own, without Python and torch: compiled from the sources at hand and run on problems of every kind."""

from __future__ import annotations

import pytest

from python_benchmarks import sanitize


def check(sanitizer: str, kernels: str) -> None:
    outcome = sanitize.execute(sanitize.build(sanitizer), kernels)
    assert outcome.returncode == 0, outcome.output[-4000:]
    assert " 0 failures" in outcome.summary


@pytest.mark.parametrize("kernels", ["baseline", "native"])
def test_the_solver_needs_neither_python_nor_torch(kernels):
    check("none", kernels)


@pytest.mark.sanitizer
@pytest.mark.parametrize("kernels", ["baseline", "native"])
def test_no_memory_error_and_no_undefined_behaviour(kernels):
    check("address,undefined", kernels)


@pytest.mark.sanitizer
def test_no_data_race():
    check("thread", "native")


def test_the_sources_and_flags_are_those_of_the_build():
    """Every kernel file once per instruction set, the other sources once, nothing else."""
    text = (sanitize.ROOT / "CMakeLists.txt").read_text()
    units = [unit for unit in sanitize.units() if unit.source != sanitize.DRIVER]
    assert all(str(unit.source.relative_to(sanitize.ROOT)) in text for unit in units)
    named = {word for word in text.replace(")", " ").split() if word.startswith("csrc/cpu/") and word.endswith(".cpp")}
    assert named == {str(unit.source.relative_to(sanitize.ROOT)) for unit in units}
    baseline = [unit for unit in units if "-DWBM_ISA=baseline" in unit.flags]
    assert baseline
    assert all(unit.source.parent.name == "kernels" and "-mavx2" not in unit.flags for unit in baseline)
