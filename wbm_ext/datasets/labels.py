"""Users and items known by strings: strings in, ids 0, 1, ... out, and the strings kept to go back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LONGEST = 1000  # characters of a label: an array of labels has room for the longest one in every entry


def as_labels(argument: str, values: Any) -> NDArray[np.str_]:
    """Return ``values`` (strings or integers) as an array of strings, shape (n,).

    Raises
    ------
    TypeError
        Anything else among them; the message holds the first such position.
    ValueError
        Not 1-d; an empty string.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{argument} must be 1-d, shape (n,); got shape {array.shape}")
    if array.size and array.dtype.kind not in "iuUO":
        raise TypeError(f"{argument} must hold strings or integers; got dtype {array.dtype}")
    if array.dtype.kind == "O":
        for place, value in enumerate(array):
            if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
                raise TypeError(f"{argument} must hold strings or integers; got {value!r} at position {place}")
        sizes = np.fromiter((len(value) if isinstance(value, str) else 0 for value in array), np.int64, len(array))
        if (sizes > _LONGEST).any():
            place = int(np.argmax(sizes > _LONGEST))
            raise ValueError(
                f"{argument} must have at most {_LONGEST} characters each; got {sizes[place]} at position {place}"
            )
    strings = array.astype(str)
    if (strings == "").any():
        raise ValueError(f"{argument} must not be empty strings; got one at position {int(np.argmax(strings == ''))}")
    return strings


def number(argument: str, strings: NDArray[np.str_], known: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the place of each string in ``known``, which is sorted.

    Raises
    ------
    ValueError
        A string that is not known; the message holds it and its position.
    """
    places = np.minimum(np.searchsorted(known, strings), len(known) - 1)
    bad = known[places] != strings
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{argument} must be among the {len(known)} known ones; got {str(strings[first])!r} at position {first}"
        )
    return places.astype(np.int64)
