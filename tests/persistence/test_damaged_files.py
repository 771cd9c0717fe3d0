"""Files with random damage, also inside the pickle of a sound archive: read as they were, or refused by one error."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_model_files import Estimator

from wbm_ext.errors import FileFormatError
from wbm_ext.persistence import read_model

ROUNDS = 150


def damaged(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    start = rng.randrange(len(data))
    kind = rng.choice(["flip", "cut", "insert", "erase", "repeat"])
    if kind == "flip":
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "insert":
        data[start:start] = rng.randbytes(rng.randint(1, 20))
    elif kind == "erase":
        del data[start : start + rng.randint(1, 64)]
    else:
        data[start:start] = data[start : start + rng.randint(1, 64)]
    return bytes(data)


def damaged_pickle(content: bytes, rng: random.Random) -> bytes:
    """The same archive with right checksums, its description of the values damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, damaged(part, rng) if name.endswith("data.pkl") else part)
    return out.getvalue()


@pytest.mark.parametrize("harm", [damaged, damaged_pickle])
def test_damage_is_refused_or_harmless(harm: Callable[[bytes, random.Random], bytes], tmp_path: Path) -> None:
    path = tmp_path / "m"
    Estimator().fit().save(path)
    sound = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(ROUNDS):
        path.write_bytes(harm(sound, rng))
        try:
            model = read_model(path)
            model.fill(Estimator(), "cpu")
        except FileFormatError:
            refused += 1
    assert refused > ROUNDS // 2
    # nothing of it has changed the process
    assert torch.get_default_dtype() == torch.float32
