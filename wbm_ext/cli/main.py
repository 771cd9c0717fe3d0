"""Entry point: loads the command line interface, or says what is missing."""

from __future__ import annotations

import sys

from wbm_ext.errors import MissingExtraError, require_extra


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code (0 done, 1 a goal missed or a check failed, 2 wrong usage or data).

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    try:
        for module in ("typer", "rich"):
            require_extra(module, "cli", "the console command")
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        return 2
    from wbm_ext.cli.app import app

    try:
        code = app(arguments, standalone_mode=True, prog_name="wbm")
    except SystemExit as exit_:
        code = exit_.code
    return int(code or 0)
