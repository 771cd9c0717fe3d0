"""Options that several losses share: what they may be, and one signature for functions that take the same ones."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from wbm_ext.errors import check_name
from wbm_ext.parameters import check_flag
from wbm_ext.solver.problem import COSTS, CRITERIA, GRADIENTS, REFERENCES

MASSES = ("self-normalized", "softmax")
AGAINST = ("untreated", "all")
KERNELS = ("rbf", "linear")

NAMES: dict[str, Any] = {
    "masses": MASSES,
    "against": AGAINST,
    "kernel": KERNELS,
    "reference": REFERENCES,
    "grad": GRADIENTS,
    "criterion": CRITERIA,
    "cost": COSTS,
}
RANGES: dict[str, dict[str, float]] = {
    "clip": {"least": 0.0, "below": 0.5},
    "gamma": {"least": 0.0},
    "distance_scale": {"above": 0.0},
    "bandwidth": {"above": 0.0},
    "min_ess": {"least": 0.0, "most": 1.0},
}
OPTIONAL = ("bandwidth", "min_ess")
FLAGS = ("logits", "scale_cost", "detach_representation", "detach_outcomes", "relative")

P = ParamSpec("P")
R = TypeVar("R")


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Return a finite number within its bounds, or raise with the interval."""
    if isinstance(value, bool) or not isinstance(value, (int, float, numbers.Real)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    low = -math.inf if least is None and above is None else above if least is None else least
    high = math.inf if most is None and below is None else below if most is None else most
    inside = (value > low if least is None else value >= low) and (value < high if most is None else value <= high)  # type: ignore[operator]
    if not inside or not math.isfinite(value):
        left, right = ("(" if least is None else "["), (")" if most is None else "]")
        raise ValueError(f"{name} must be in {left}{low:g}, {high:g}{right}, got {value}")
    return float(value)


def check_options(**options: object) -> None:
    """Names against their lists, flags, and numbers against their ranges; names without a rule pass."""
    for name, value in options.items():
        if name in NAMES:
            check_name(name, value, NAMES[name])
        elif name in FLAGS:
            check_flag(name, value)
        elif name in RANGES and not (value is None and name in OPTIONAL):
            check_number(name, value, **RANGES[name])


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Keyword-only parameters of a function and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def same_parameters(source: Callable[P, Any]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Decorator: the function passes its arguments on to ``source`` and shows the signature of it, written once."""

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        result = inspect.signature(function).return_annotation
        function.__signature__ = inspect.signature(source).replace(return_annotation=result)  # type: ignore[attr-defined]
        return cast("Callable[P, R]", function)

    return decorate
