"""How a command ends: exit codes, and errors in one sentence without a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console

DONE, FAILED, BAD_INPUT = 0, 1, 2
"""0 done; 1 a goal was missed or a check failed; 2 wrong usage or unusable data."""

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn wrong usage and unusable data into one sentence and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = " ".join(str(error).split())
        if not text:
            raise
        Console(stderr=True, soft_wrap=True).print(f"error: {text}", style="red", markup=False, highlight=False)
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
    Console(stderr=True, soft_wrap=True).print(text, style="red", markup=False, highlight=False)
    raise typer.Exit(FAILED)


def say(text: str) -> None:
    """Print a line that a terminal does not break or colour."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def note(text: str) -> None:
    """Print a line to standard error, so that standard output stays the result alone."""
    print(text, file=sys.stderr)
