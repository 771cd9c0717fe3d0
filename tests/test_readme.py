"""The README is true: its examples run and print what they show, its table is the committed figures."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import pytest
import transcript

import wbm_ext

ROOT = Path(__file__).resolve().parents[1]


def test_the_examples_print_what_they_show():
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert results.attempted > 10
    assert results.failed == 0


def test_the_commands_print_what_they_show(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = (ROOT / "README.md").read_text()
    assert len(transcript.commands(text)) > 6
    assert transcript.replay(text, tmp_path) == []


def test_another_output_and_another_exit_code_are_told(tmp_path):
    page = "```console\n$ echo 1.25\n1.3...\n$ echo 1.25\n1.2...\n$ false\n```\n"
    first, second = transcript.replay(page, tmp_path)
    assert "printed:\n1.25" in first
    assert "$ false\nended with 1" in second


@pytest.mark.parametrize("room", ["solver", "losses", "datasets", "recommender"])
def test_docstring_examples(room):
    attempted = 0
    for path in sorted((Path(wbm_ext.__file__).parent / room).glob("*.py")):
        name = f"wbm_ext.{room}" + ("" if path.stem == "__init__" else f".{path.stem}")
        results = doctest.testmod(importlib.import_module(name))
        assert results.failed == 0, name
        attempted += results.attempted
    assert attempted > 0


def test_the_table_is_generated():
    sys.path.insert(0, str(ROOT))
    try:
        from python_benchmarks import readme
    finally:
        sys.path.remove(str(ROOT))
    text = (ROOT / "README.md").read_text()
    assert readme.block(text, readme.table(readme.newest())) == text
