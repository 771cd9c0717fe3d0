"""How a command ends: exit codes, and errors in one sentence without a traceback."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer

from wbm_ext.errors import DataWarning

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""0 done; 1 a goal was missed, a check failed or a fit diverged; 2 wrong usage or unusable data; 130 Ctrl-C."""

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what can go wrong for a user into one sentence and an exit code; warnings into one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = lambda message, *_: note(f"warning: {' '.join(str(message).split())}")
        try:
            yield
        except BrokenPipeError:  # who reads the output has seen enough: wbm predict ... | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt as error:
            kept = " ".join(getattr(error, "__notes__", [])) or "nothing was kept; --checkpoint FILE keeps a fit"
            _complain(f"interrupted: {kept}")
            raise typer.Exit(INTERRUPTED) from None
        except (FloatingPointError, MemoryError) as error:
            _complain(f"error: {error or 'there is not enough memory'}")
            raise typer.Exit(FAILED if isinstance(error, FloatingPointError) else BAD_INPUT) from error
        except (ValueError, TypeError, OSError, ImportError, OverflowError) as error:
            if not str(error):
                raise
            _complain(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from error
        except RuntimeError as error:
            if "allocate memory" not in str(error) and type(error).__name__ != "OutOfMemoryError":
                raise
            _complain(f"error: there is not enough memory: {error}")  # torch has no type of its own for the CPU's
            raise typer.Exit(BAD_INPUT) from error


def command(function: F) -> F:
    """Wrap a command, so that its errors are one sentence."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        with one_sentence():
            return function(*args, **options)

    return run  # type: ignore[return-value]


def fail(text: str) -> NoReturn:
    """Say on standard error what failed, and end with exit code 1."""
    _complain(text)
    raise typer.Exit(FAILED)


def say(text: str) -> None:
    """Print a line that a terminal does not break or colour."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a line to standard error, so that standard output stays the result alone."""
    typer.echo(text, err=True)


def _complain(text: str) -> None:
    typer.secho(" ".join(text.split()), fg="red", err=True)
