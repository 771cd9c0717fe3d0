"""Errors and warnings of the package, and the one way to reject a name that does not exist."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class _SiteWarning(UserWarning):
    """A warning shown once per call site, whatever figures its text holds.

    Python's default filter shows a warning once per call site *and text*. Figures differ from call to call, so the
    text compares equal to any other text of its category: once per call site is what remains. The filters ``always``
    and ``error`` act as usual.
    """

    def __str__(self) -> str:
        return _SiteText(super().__str__())


class ConvergenceWarning(_SiteWarning):
    """A solve ended above its tolerance; the message holds the residual reached and the remedy. Once per call site."""


class BalanceWarning(_SiteWarning):
    """Reweighting has put most of the mass on a few samples; the message holds how few and the remedy.

    Once per call site.
    """


class _SiteText(str):
    """A text that equals every other text of its kind (the key of Python's once-per-site registry)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SiteText) or str.__eq__(self, other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash("wbm_ext.errors")


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
