"""Checks of estimator parameters: one short function a kind, each naming argument, range and what it got."""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from wbm_ext.errors import check_name

T = TypeVar("T")


def check_integer(argument: str, value: object, *, least: int = 1) -> None:
    """Raise unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{argument} must be an integer of at least {least}; got {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be an integer of at least {least}; got {value}")


def check_number(
    argument: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    optional: bool = False,
    infinite: bool = False,
) -> None:
    """Raise unless ``value`` is a number with ``above`` < value, ``least`` <= value and value < ``below``.

    ``optional`` allows None, ``infinite`` allows inf.
    """
    if (optional and value is None) or (infinite and value == math.inf):
        return
    bounds = [f"> {above:g}"] if above is not None else []
    bounds += [f">= {least:g}"] if least is not None else []
    bounds += [f"< {below:g}"] if below is not None else []
    expected = f"{argument} must be a finite number {' and '.join(bounds)}".rstrip()
    expected += " or None" if optional else ""
    expected += " or inf" if infinite else ""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{expected}; got {value!r}")
    inside = (above is None or value > above) and (least is None or value >= least)
    if not (math.isfinite(value) and inside and (below is None or value < below)):
        raise ValueError(f"{expected}; got {value!r}")


def check_flag(argument: str, value: object) -> None:
    """Raise unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be True or False; got {value!r}")


def check_device(value: object) -> None:
    """Raise unless ``value`` names a device that torch can use here, e.g. "cpu" or "cuda:0"."""
    try:
        device = torch.device(value)  # type: ignore[arg-type]
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda'; got {value!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={value!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")


def check_memory(what: str, count: float) -> None:
    """Raise MemoryError if training ``count`` float32 parameters by Adam needs more memory than this machine has."""
    need, have = 16 * count, _physical_memory()
    if need > have:
        raise MemoryError(
            f"{what} need {need / 2**30:,.0f} GiB of memory to train; this machine has {have / 2**30:,.0f}"
        )


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def make(kinds: Mapping[str, type[T]], name: str, params: Mapping[str, Any]) -> T:
    """Return a new ``kinds[name](**params)``.

    Raises
    ------
    UnknownNameError
        If the kind, or one of the parameters, does not exist; the message holds the nearest valid name.
    """
    kind = kinds[check_name("name", name, kinds)]
    valid = list(inspect.signature(kind).parameters)
    for param in params:
        check_name(f"parameter of {name}", param, valid)
    return kind(**params)
