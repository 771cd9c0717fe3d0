"""Fitted values as tensors and plain values, and back: what may stand in a model file.

Plain values and tensors stand for themselves. Anything else is packed as ``{"~": tag, ...}``, where the tag belongs to
a type that the package has registered; a file can name such a tag, never a type or a module to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from wbm_ext.errors import FileFormatError

_MARK = "~"


@dataclass(frozen=True)
class _Codec:
    kind: type
    pack: Callable[[Any], dict[str, Any]]
    unpack: Callable[[dict[str, Any]], Any]


_CODECS: dict[str, _Codec] = {}


def register(
    tag: str, kind: type, pack: Callable[[Any], dict[str, Any]], unpack: Callable[[dict[str, Any]], Any]
) -> None:
    """Let values of type ``kind`` (not of its subclasses) stand in model files under ``tag``.

    Parameters
    ----------
    pack : callable, value -> {field: value}
        Fields may again be anything that :func:`pack` takes.
    unpack : callable, {field: value} -> value
        Gets the fields unpacked. It must check what it gets as it would check a user's input.
    """
    known = _CODECS[tag].kind if tag in _CODECS else kind
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"the tag {tag!r} belongs to {known.__module__}.{known.__qualname__}")
    _CODECS[tag] = _Codec(kind, pack, unpack)


def pack(value: Any, where: str = "value") -> Any:
    """Return ``value`` as tensors (detached, on the CPU) and plain values.

    Raises
    ------
    TypeError
        For anything that cannot be packed; names the place.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.bool_ | np.integer | np.floating | np.str_):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(pack(entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if type(value) is dict:
        if _MARK in value or not all(isinstance(key, str | int | float | bool | None) for key in value):
            raise TypeError(f"{where} cannot be saved: its keys must be strings or numbers, without {_MARK!r}")
        return {key: pack(entry, f"{where}[{key!r}]") for key, entry in value.items()}
    for tag, codec in _CODECS.items():
        if type(value) is codec.kind:
            fields = codec.pack(value)
            return {_MARK: tag, **{name: pack(entry, f"{where}.{name}") for name, entry in fields.items()}}
    raise TypeError(
        f"{where} cannot be saved: it is a {type(value).__name__}, for which wbm_ext.persistence.register has no entry"
    )


def unpack(value: Any, device: torch.device | str = "cpu") -> Any:
    """Return what :func:`pack` was given; every tensor and network on ``device``.

    Raises
    ------
    FileFormatError
        A tag that is not registered, or fields that do not fit it.
    """
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(unpack(entry, device) for entry in value)
    if not isinstance(value, dict):
        return value
    if _MARK not in value:
        return {key: unpack(entry, device) for key, entry in value.items()}
    codec = _CODECS.get(value[_MARK]) if isinstance(value[_MARK], str) else None
    if codec is None:
        raise FileFormatError(f"the file holds a value of the kind {value[_MARK]!r}, which this wbm_ext does not know")
    # a network is moved when it is whole, an array stays where arrays are
    inside = "cpu" if issubclass(codec.kind, nn.Module | np.ndarray) else device
    fields = {key: unpack(entry, inside) for key, entry in value.items() if key != _MARK}
    try:
        built = codec.unpack(fields)
    except Exception as error:  # fields of any kind may stand in a hostile file
        raise FileFormatError(f"the file holds a {value[_MARK]} that cannot be built: {error}") from error
    return built.to(device) if isinstance(built, nn.Module) else built


def _pack_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind in "US":
        return {"text": array.tolist()}
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of dtype {array.dtype} cannot be saved; numbers, booleans and strings can")
    return {"values": torch.from_numpy(np.ascontiguousarray(array).copy()).reshape(array.shape)}


def _unpack_array(fields: dict[str, Any]) -> np.ndarray:
    if "text" not in fields:
        return fields["values"].numpy()
    sizes = [len(text) for text in fields["text"]]
    if max(sizes, default=0) * len(sizes) > 64 * sum(sizes) + 2**20:  # every entry has room for the longest
        raise ValueError(f"one of its {len(sizes)} texts has {max(sizes)} characters, far more than the others")
    return np.array(fields["text"], dtype=str)


def _unpack_dtype(fields: dict[str, Any]) -> torch.dtype:
    dtype = getattr(torch, str(fields["name"]), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"there is no dtype {fields['name']!r}")
    return dtype


register("array", np.ndarray, _pack_array, _unpack_array)
register("dtype", torch.dtype, lambda dtype: {"name": str(dtype).removeprefix("torch.")}, _unpack_dtype)
register(
    "networks",
    nn.ModuleDict,
    lambda modules: {"members": dict(modules.items())},
    lambda fields: nn.ModuleDict(fields["members"]),
)
