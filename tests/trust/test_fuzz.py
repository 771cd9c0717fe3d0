"""Every target of the fuzz for a bounded number of draws, the same each time; tests/trust/fuzz.py runs them for longer."""

from __future__ import annotations

import collections

import pytest
from hypothesis import Phase, given, settings
from targets import LOADERS, TARGETS, watched
from test_argument_fuzz import BOUNDED


def run(name: str, examples: int, derandomize: bool = True) -> collections.Counter[str]:
    """Check a number of draws; return how many were read and refused."""
    target, seen = TARGETS[name], collections.Counter()

    # no shrinking: what is drawn is small, and a bounded run stays bounded where it finds something
    @settings(max_examples=examples, derandomize=derandomize, phases=[Phase.generate], **BOUNDED)
    @given(target.draws)
    def check(draw):
        seen[target.check(draw)] += 1

    check()
    return seen


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "arguments"])
def test_files_are_read_or_refused(name):
    seen = run(name, 60 // TARGETS[name].cost)
    assert set(seen) <= {"read", "refused"}
    assert seen["refused"] > 5 or name == "parameter"


@pytest.mark.parametrize("name", LOADERS)
def test_the_files_that_are_damaged_are_sound(name):
    assert TARGETS[name].check((0, [], "packed")) == "read"


@pytest.mark.parametrize("name", ["recommender-file", "effect-file", "checkpoint"])
def test_the_documents_that_are_damaged_are_sound(name):
    assert TARGETS[name].check(("bytes", [], [])) == "read"
    assert TARGETS[name].check(("values", [], [])) == "read"


def test_a_reader_that_runs_something_is_found(tmp_path):
    with pytest.raises(AssertionError, match=r"caused os\.mkdir"), watched():
        (tmp_path / "made").mkdir()
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_longer(name):
    assert run(
        name, 1000 // TARGETS[name].cost, derandomize=True
    )  # the same draws each time: others are for `make fuzz`
