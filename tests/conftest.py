"""What tests found out and CI prints: a test hands a text to the end of the run as the property ``printed``."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, text in report.user_properties:
            if name == "printed" and report.when == "call":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(text)
