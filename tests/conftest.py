"""The order of the files, and what tests found out and CI prints: a test hands a text to the end of the run as the property
``printed``."""

from __future__ import annotations

from collections import Counter

import pytest

# Few tests of minutes each, compilers and sanitizers: with a file to a runner they begin first, or one runner waits for them
# at the end.
LONG = (
    "native/test_driver.py",
    "cuda/test_machine_code.py",
    "cuda/test_log_steps.py",
    "benchmarks/test_instructions.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    size = Counter(item.path for item in items)
    place = {path: k for k, name in enumerate(LONG) for path in size if path.as_posix().endswith(f"tests/{name}")}
    items.sort(key=lambda item: (place.get(item.path, len(LONG)), -size[item.path]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, text in report.user_properties:
            if name == "printed" and report.when == "call":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(text)
