"""Bad files times commands: one sentence, a documented exit code, nothing written, no traceback."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pandas
import pytest

COLUMNS = ("--user", "u", "--item", "i", "--rating", "r")
UNITS = ("--treatment", "t", "--outcome", "y")
SMALL = ("-p", "epochs=1", "--no-progress")

RATINGS = "u,i,r\n0,0,5\n0,1,1\n1,0,4\n1,1,2\n2,0,5\n2,1,1\n"
ROWS = [f"{k % 7},{(k * k) % 5},{'ab'[k % 2]},{k % 2},{k / 3}" for k in range(40)]
UNIT_TABLE = "x1,x2,region,t,y\n" + "\n".join(ROWS) + "\n"


def head(text: str) -> bytes:
    return text.encode().split(b"\n")[0]


def filled(text: str, cell: bytes) -> bytes:
    """The header, and five lines of one cell throughout."""
    return b"\n".join([head(text), *[b",".join([cell] * (1 + head(text).count(b",")))] * 5])


DAMAGES = {
    "empty": lambda text: b"",
    "header alone": head,
    "a column less": lambda text: "\n".join(line.rpartition(",")[0] for line in text.splitlines()).encode(),
    "a short line": lambda text: text.encode() + b"1\n",
    "a long line": lambda text: text.encode() + b"1,1,1,1,1,1,1,1\n",
    "an open quote": lambda text: text.encode() + b'"1,1',
    "a stray quote": lambda text: text.encode() + b'"1"1,1,1\n',
    "two names": lambda text: text.replace(text.split(",")[1], text.split(",")[0], 1).encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "latin-1": lambda text: text.encode() + "é".encode("latin-1"),
    "zero bytes": lambda text: text.encode().replace(b",", b"\0"),
    "words": lambda text: filled(text, b"word"),
    "nothing in cells": lambda text: filled(text, b""),
    "infinite": lambda text: text.encode().replace(b"\n1,", b"\ninf,").replace(b",1\n", b",1e999\n"),
    "negative": lambda text: text.encode().replace(b"\n0,", b"\n-3,"),
    "huge": lambda text: text.encode().replace(b"\n0,", b"\n1099511627776,"),
    "one row": lambda text: b"\n".join(text.encode().split(b"\n")[:2]),
    "carriage returns": lambda text: text.encode().replace(b"\n", b"\r"),
}
COMMANDS = {
    "fit": ("ratings", lambda path: ("fit", path, "-s", "naive", *COLUMNS, *SMALL, "--out", "new.pt")),
    "fit names": (
        "ratings",
        lambda path: ("fit", path, "-s", "naive", *COLUMNS, *SMALL, "--labels", "--out", "new.pt"),
    ),
    "fit ids": (
        "ratings",
        lambda path: ("fit", path, "-s", "naive", *COLUMNS, *SMALL, "--no-labels", "--out", "new.pt"),
    ),
    "predict": ("ratings", lambda path: ("predict", path, "-m", "m.pt")),
    "evaluate": ("ratings", lambda path: ("evaluate", path, "-m", "m.pt")),
    "effect": ("units", lambda path: ("effect", path, "-s", "ols", *UNITS, "--no-progress")),
    "effect of a model": ("units", lambda path: ("effect", path, "-m", "e.pt", *UNITS)),
    "predict units": ("units", lambda path: ("predict", path, "-m", "e.pt")),
    "evaluate units": ("units", lambda path: ("evaluate", path, "-m", "e.pt")),
}
# what a table may hold without harm to a command that does not look at it, or that reads names
HARMLESS = {"negative", "huge", "words", "one row", "infinite", "a column less", "two names", "carriage returns"}


@pytest.fixture
def models(wbm) -> None:
    Path("r.csv").write_text(RATINGS)
    Path("u.csv").write_text(UNIT_TABLE)
    assert wbm("fit", "r.csv", "-s", "naive", *COLUMNS, *SMALL, "--out", "m.pt").exit_code == 0
    small = ("-p", "representation=[4]", "-p", "heads=[4]", "-p", "selection=none")
    assert wbm("fit", "u.csv", "-s", "tarnet", *UNITS, *SMALL, *small, "--out", "e.pt").exit_code == 0


def check(wbm, name: str, path: str, where: str) -> bool:
    """Run a command on a file; return whether it was refused."""
    done = wbm(*COMMANDS[name][1](path))  # an unforeseen exception is raised here
    Path("new.pt").unlink(missing_ok=True)
    Path("new.toml").unlink(missing_ok=True)
    assert done.exit_code in (0, 1, 2), where
    assert "Traceback" not in done.output, where
    lines = done.stderr.strip().splitlines()
    if done.exit_code:
        assert [line for line in lines if not line.startswith("warning: ")][-1].startswith("error: "), (where, lines)
    return done.exit_code == 2


def test_every_command_refuses_every_bad_file_in_one_sentence(wbm, models) -> None:
    for damage, harm in DAMAGES.items():
        for name, (kind, _) in COMMANDS.items():
            content = harm(RATINGS if kind == "ratings" else UNIT_TABLE)
            for path, data in (("bad.csv", content), ("bad.csv.gz", gzip.compress(content, 1))):
                Path(path).write_bytes(data)
                refused = check(wbm, name, path, f"{name}, {damage}, {path}")
                assert refused or damage in HARMLESS, f"{name} took a file with {damage}"


def test_files_of_another_kind_and_random_damage_leave_no_traceback(wbm, models) -> None:
    rng = random.Random(0)
    pandas.read_csv("u.csv").to_parquet("u.parquet")
    pandas.read_csv("r.csv").to_parquet("r.parquet")
    Path("folder.csv").mkdir()
    for name, (kind, _) in COMMANDS.items():
        for path in ("folder.csv", "absent.csv", "m.pt", "m.toml"):
            assert check(wbm, name, path, f"{name}, {path}")
        for _ in range(6):
            for end in ("csv", "parquet"):
                data = bytearray(Path(f"{kind[0]}.{end}").read_bytes())
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                Path(f"bad.{end}").write_bytes(bytes(data[: rng.randint(len(data) // 2, len(data))]))
                check(wbm, name, f"bad.{end}", f"{name}, random {end}")
    for model in ("r.csv", "r.parquet", "folder.csv", "absent.pt"):
        for words in (("predict", "r.csv"), ("evaluate", "r.csv"), ("recommend", "-u", "0"), ("effect", "u.csv")):
            done = wbm(*words, "-m", model)
            assert done.exit_code == 2
            assert done.stderr.startswith("error: ")
