"""Damage to sound files: bytes of any file, and values inside a document that stays sound around them."""

from __future__ import annotations

import copy
import gzip
import io
import math
import zipfile
from typing import Any

import torch
from hypothesis import strategies as st

TOKENS = [
    b"",
    b",",
    b"\t",
    b"\n",
    b"\r\n",
    b'"',
    b"\0",
    b"-1",
    b"0.5",
    b"1e999",
    b"nan",
    b"9" * 25,
    b"x",
    b"\xff",
    b" ",
]
VALUES = [None, True, -1, 0, 3, 1.5, math.nan, "", "x", [], (1, 2), {}, torch.tensor([1.0]), torch.zeros(2, 3)]
VALUES += [{"~": "array"}, {"~": "os.system", "command": "true"}, {"~": "networks", "members": {}}, {"~": 3}]

place = st.floats(0.0, 1.0, exclude_max=True)
change = st.one_of(
    st.tuples(st.just("flip"), place, st.integers(0, 7)),
    st.tuples(st.just("cut"), place, st.just(0)),
    st.tuples(st.just("insert"), place, st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12))),
    st.tuples(st.just("erase"), place, st.integers(1, 64)),
    st.tuples(st.just("repeat"), place, st.integers(1, 64)),
    st.tuples(st.just("word"), place, st.sampled_from(TOKENS)),
)
changes = st.lists(change, min_size=1, max_size=4)
packing = st.sampled_from(["plain", "plain", "plain", "packed", "damaged archive"])


def damaged(content: bytes, how: list[tuple[str, float, Any]]) -> bytes:
    """The content after some changes, each at a place given as a share of its length."""
    for kind, where, what in how:
        at = int(where * len(content))
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ 1 << what]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + what + content[at:]
        elif kind == "erase":
            content = content[:at] + content[at + what :]
        elif kind == "repeat":
            content = content[: at + what] + content[at:]
        elif kind == "word":  # the value around the place becomes another
            ends = [content.find(mark, at) for mark in b", \t\n" if content.find(mark, at) >= 0]
            start = max(content.rfind(mark, 0, at) for mark in b", \t\n") + 1
            content = content[:start] + what + content[min(ends, default=len(content)) :]
    return content


def packed(content: bytes, how: list[tuple[str, float, Any]], packing: str) -> tuple[bytes, str]:
    """The damaged content and the end that its name gets; an archive is damaged in its own bytes where asked."""
    if packing == "plain":
        return damaged(content, how), ""
    if packing == "packed":
        return gzip.compress(damaged(content, how), 1), ".gz"
    return damaged(gzip.compress(content, 1), how), ".gz"


def damaged_description(content: bytes, how: list[tuple[str, float, Any]]) -> bytes:
    """A document of tensors whose description of the values is damaged, with right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, damaged(part, how) if name.endswith("data.pkl") else part)
    return out.getvalue()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places inside nested dictionaries and lists."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inner, (*path, key))
    return found


def changed_values(document: dict[str, Any], how: list[tuple[float, int]]) -> dict[str, Any]:
    """The document with other values, or without some; each (place as a share of all places, index of the value)."""
    for where, what in how:
        path = (found := places(document))[int(where * len(found))]
        inner: Any = document
        for key in path[:-1]:
            inner = inner[key]
        if what == len(VALUES) and isinstance(inner, dict):
            del inner[path[-1]]
        else:
            inner[path[-1]] = copy.deepcopy(VALUES[what % len(VALUES)])
        if not document:
            break
    return document


values = st.lists(st.tuples(place, st.integers(0, len(VALUES))), min_size=1, max_size=3)
