"""Arrays in: lists, numpy and torch values become checked numpy arrays, or one clear error."""

from __future__ import annotations

import math
import numbers
import operator

import numpy as np
from numpy.typing import NDArray


def as_array(argument: str, value: object) -> NDArray:
    """Return ``value`` as a numeric numpy array; tensors are detached and brought to the host first.

    Objects are taken where each of them is a number, as in a column of a table that once held something else.

    Raises
    ------
    TypeError
        ``value`` is not an array of numbers (ragged lists, strings, other objects, complex numbers, nothing).
    """
    value = on_host(value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{argument} must be an array, a list or a tensor of numbers; got {type(value).__name__} ({error})"
        ) from error
    if array.dtype.kind == "O":
        array = _from_objects(argument, array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must hold numbers; got dtype {array.dtype}")
    return array


def on_host(value: object) -> object:
    """Return a tensor without its graph, on the CPU and of a type that numpy has; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return value.float() if str(value.dtype) == "torch.bfloat16" else value


def _from_objects(argument: str, array: NDArray) -> NDArray:
    if array.ndim == 0:
        raise TypeError(
            f"{argument} must be an array, a list or a tensor of numbers; got {type(array.item()).__name__}"
        )
    for place, value in enumerate(array.flat):
        if not isinstance(value, numbers.Real | np.bool_):
            position = place if array.ndim == 1 else tuple(int(i) for i in np.unravel_index(place, array.shape))
            raise TypeError(f"{argument} must hold numbers; got {value!r} at position {position}")
    return np.array(array.tolist())


def as_vector(argument: str, value: object) -> NDArray:
    """Return ``value`` as a numeric array of shape (n,), else raise TypeError or ValueError."""
    array = as_array(argument, value)
    if array.ndim != 1:
        raise ValueError(f"{argument} must be 1-d, shape (n,); got shape {array.shape}")
    return array


def as_ids(argument: str, value: object, count: int | None = None) -> NDArray[np.int64]:
    """Return ``value`` as ids, int64 (n,), each in [0, count) if ``count`` is given and >= 0 if not.

    Raises
    ------
    TypeError
        The values are not integers.
    ValueError
        The values are not 1-d, or one is out of range; the message holds the first such position.
    """
    try:
        array = as_vector(argument, value)
    except TypeError as error:
        raise TypeError(f"{error}{_numbering(argument)}") from None
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{argument} must hold integer ids 0, 1, ...; got dtype {array.dtype}{_numbering(argument)}")
    ids = array.astype(np.int64)
    if count is None:
        reject(argument, ids < 0, ids, "ids must be non-negative")
    else:
        reject(argument, (ids < 0) | (ids >= count), ids, f"ids must be in [0, {count})")
    return ids


def _numbering(argument: str) -> str:
    if argument not in ("users", "items"):
        return ""
    return (
        " (number other labels first, e.g. numpy.unique(labels, return_inverse=True)[1], or let "
        "wbm_ext.datasets.read_ratings(table, labels=True) do it)"
    )


def as_propensity(argument: str, value: object) -> NDArray[np.float64]:
    """Return ``value`` as float64 of any shape, each entry in (0, 1], else raise TypeError or ValueError."""
    array = as_array(argument, value).astype(np.float64)
    reject(argument, ~((array > 0) & (array <= 1)), array, "propensities must be in (0, 1]")
    return array


def as_binary(argument: str, value: object) -> NDArray[np.bool_]:
    """Return ``value``, which must hold 0 and 1 only, as a boolean array of the same shape."""
    array = as_array(argument, value)
    reject(argument, ~((array == 0) | (array == 1)), array, "values must be 0 or 1")
    return array.astype(bool)


def reject(argument: str, bad: NDArray[np.bool_], values: NDArray, expected: str) -> None:
    """Raise ValueError with the first entry of ``values`` where ``bad`` holds; return if there is none."""
    if not bad.any():
        return
    flat = int(np.argmax(bad))
    position = flat if bad.ndim == 1 else tuple(int(index) for index in np.unravel_index(flat, bad.shape))
    raise ValueError(f"{argument}: {expected}; got {values.flat[flat].item()!r} at position {position}")


def check_same_length(**arrays: NDArray) -> None:
    """Raise ValueError unless all named arrays have the length of the first one."""
    (first, reference), *others = arrays.items()
    for argument, array in others:
        if len(array) != len(reference):
            raise ValueError(f"{argument} must have the length of {first}, {len(reference)}; got {len(array)}")


def check_count(argument: str, value: object, low: int = 1) -> int:
    """Return ``value`` as an int of at least ``low``; booleans and fractions are a TypeError."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{argument} must be an integer of at least {low}; got {value!r} ({type(value).__name__})"
        ) from None
    if count < low:
        raise ValueError(f"{argument} must be an integer of at least {low}; got {count}")
    return count


def check_real(argument: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return ``value`` as a finite float in [low, high], else raise TypeError or ValueError."""
    expected = f"a finite number in [{low:g}, {high:g}]"
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{argument} must be {expected}; got {value!r} ({type(value).__name__})") from None
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{argument} must be {expected}; got {number!r}")
    return number
