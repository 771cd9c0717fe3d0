"""Errors and warnings of the package, and the one way to reject a name that does not exist."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterable
from types import ModuleType


class ConvergenceWarning(UserWarning):
    """A solve ended above its tolerance; the message holds the residual reached and the remedy. Once per call site."""


class BalanceWarning(UserWarning):
    """Reweighting has put most of the mass on a few samples; the message holds how few and the remedy.

    Once per call site.
    """


class DataWarning(UserWarning):
    """Data that can be used, but may not mean what it seems to; the message names the column and the remedy.

    Once per call site.
    """


_shown: set[tuple[str, int, type[Warning]]] = set()
_filters: list[object] = []


def warn_once(warning: Warning) -> None:
    """Show ``warning`` at the first line outside this package and torch, once per line and category.

    Python's default filter tells texts apart, and their figures differ from call to call; here the line counts
    alone. The filters ``always``, ``error`` and ``ignore`` act as usual, and a change of
    filters starts anew.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("wbm_ext", "torch"):
        frame = frame.f_back
    module, line, path = frame.f_globals.get("__name__", "<unknown>"), frame.f_lineno, frame.f_code.co_filename
    if _filters != warnings.filters:
        _filters[:] = warnings.filters
        _shown.clear()
    if _action(warning, module, line) not in ("always", "error", "ignore"):
        site = (path, line, type(warning))
        if site in _shown:
            return
        _shown.add(site)
    warnings.warn_explicit(warning, type(warning), path, line, module=module)


def _action(warning: Warning, module: str, line: int) -> str:
    """What the filters in force say of a warning of this line."""
    for action, text, category, where, number in warnings.filters:
        if (
            (text is None or text.match(str(warning)))  # type: ignore[attr-defined]
            and isinstance(warning, category)
            and (where is None or where.match(module))  # type: ignore[attr-defined]
            and number in (0, line)
        ):
            return action
    return "default"


class UnknownNameError(ValueError):
    """An option, system or data set name that does not exist; the message holds the nearest valid one."""


class DatasetError(ValueError):
    """A data folder or file that cannot be used as it is."""


class MissingFileError(DatasetError, FileNotFoundError):
    """A data folder that lacks a file."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ChecksumError(DatasetError):
    """A data file whose SHA-256 is not the registered one."""


class FileFormatError(ValueError):
    """A model file or checkpoint that cannot be used as it is."""


class MissingExtraError(ImportError):
    """An optional dependency that is not installed; the message holds the command that installs it."""


def check_name(argument: str, value: object, valid: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``valid``, else raise :class:`UnknownNameError` with the nearest one."""
    names = list(valid)
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a string, one of {names}; got {type(value).__name__}")
    if value not in names:
        near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownNameError(f"{argument}={value!r} does not exist; {hint}valid: {', '.join(map(repr, names))}")
    return value


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or say in one sentence which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{purpose} needs {module.split('.')[0]}: pip install 'wbm_ext[{extra}]'") from error
