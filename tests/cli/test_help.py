"""Help at once and whole: no torch is loaded for it, every option says what it is for."""

from __future__ import annotations

import resource
import subprocess
import sys

import click
import pytest
import typer

COMMANDS = ("info", "systems", "fit", "evaluate", "predict", "recommend", "effect", "compare")


def test_help_loads_no_torch_and_takes_little_time() -> None:
    program = (
        "import sys, wbm_ext.cli.app as cli\n"
        "try: cli.app(['fit', '--help'])\n"
        "finally: assert 'torch' not in sys.modules and 'pandas' not in sys.modules, 'a heavy library is loaded'"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "--system" in done.stdout
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # not of a clock: others may be busy
    assert seconds < 0.5


def commands(group: click.Group, path: str = "wbm"):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_every_option_has_a_text() -> None:
    from wbm_ext.cli.app import app

    found = dict(commands(typer.main.get_command(app)))
    assert {f"wbm {name}" for name in COMMANDS} <= set(found)
    for name, command in found.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_text_of_the_help_is_cut(name: str, wbm) -> None:
    done = wbm(name, "--help")
    assert done.exit_code == 0
    assert "…" not in done.stdout
