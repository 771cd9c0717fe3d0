"""What the fuzz calls: every reader of files, and the op. A target is a Hypothesis strategy and a check of one draw.

A file must be read as what it is, or refused by the reader's own error, which names the file; nothing may be run, sent or
written meanwhile.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import damage
import numpy as np
import pandas
import torch
from hypothesis import strategies as st
from test_argument_fuzz import calls
from test_argument_fuzz import check as check_call

import wbm_ext
from wbm_ext import datasets, ite, recommender
from wbm_ext.cli.runfile import read_run, settings
from wbm_ext.datasets import acic, coat, ihdp, kuairec, yahoo
from wbm_ext.datasets.text import read_table
from wbm_ext.errors import DatasetError, FileFormatError, UnknownNameError

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir", "subprocess.")
FORBIDDEN += ("socket.", "shutil.", "ctypes.", "pty.", "webbrowser.")
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event.startswith(FORBIDDEN):
        raise AssertionError(f"reading a file caused {event} {arguments}")


sys.addaudithook(_watch)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block no file, process or network may be touched but for reading."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False


class Target(NamedTuple):
    """``check`` gets what ``draws`` gives and returns "read" or "refused"; anything else it raises is a finding."""

    draws: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    cost: int = 1  # of a draw: bounded runs make so many times fewer


def _read(read: Callable[[], Any], refusal: type[Exception] | tuple[type[Exception], ...], where: object) -> str:
    message = None
    with watched():
        try:
            read()
        except AssertionError:
            raise
        except refusal as error:
            message = str(error) or type(error).__name__
    if message is None:
        return "read"
    assert str(where) in message, message
    return "refused"


# ---------------------------------------------------------------------- data sets


def _lines(rows: Any, separator: str = ",", head: str = "") -> bytes:
    return (head + "".join(separator.join(map(str, row)) + "\n" for row in rows)).encode()


@functools.cache
def _sound(name: str) -> dict[str, bytes]:
    """Files of a data set, as its reader wants them."""
    rng = np.random.default_rng(0)
    if name == "coat":
        values = {
            file: 1 if file.startswith("prop") else rng.integers(0, 2, shape) for file, shape in coat.SHAPES.items()
        }
        return {file: _lines(np.broadcast_to(x, coat.SHAPES[file]), " ") for file, x in values.items()}
    if name == "yahoo-r3":
        rows = [(user + 1, user % 7 + 1, user % 5 + 1) for user in range(40)]
        return {yahoo.TRAIN: _lines(rows, "\t"), yahoo.TEST: _lines(rows[:9], "\t")}
    if name == "kuairec":
        rows = [(k // 9, k % 9, 5, 6, "2020-07-05 00:08:23.438", 20200705, 15938789.4, k / 50) for k in range(90)]
        head = ",".join(kuairec.FIELDS) + "\n"
        short = _lines([(row[0], row[1], row[-1]) for row in rows[:20]])
        return {
            kuairec.BIG: _lines(rows, head=head),
            kuairec.SMALL: _lines(rows[:30], head=head),
            kuairec.EXTRACT: short,
        }
    if name == "ihdp":
        units = rng.normal(size=(ihdp.N_UNITS, len(ihdp.COLUMNS))).round(3)
        units[:, 0] = rng.integers(0, 2, ihdp.N_UNITS)
        return {"ihdp_npci_1.csv": _lines(units)}
    units = rng.normal(size=(acic.N_UNITS, len(acic.NAMES))).round(2).astype(object)
    for column, labels in acic.CATEGORIES.items():
        units[:, acic.NAMES.index(column)] = rng.choice(labels, acic.N_UNITS)
    outcomes = rng.normal(size=(acic.N_UNITS, len(acic.COLUMNS))).round(2)
    outcomes[:, 0] = rng.integers(0, 2, acic.N_UNITS)
    heads = (",".join(names) + "\n" for names in (acic.NAMES, acic.COLUMNS))
    return {file: _lines(x, head=next(heads)) for file, x in (("x.csv", units), ("zymu_1.csv", outcomes))}


LOADERS: dict[str, Callable[[Path], Any]] = {
    "coat": lambda folder: datasets.load_coat(folder, verify=False),
    "yahoo-r3": lambda folder: datasets.load_yahoo_r3(folder, verify=False),
    "kuairec": lambda folder: [datasets.load_kuairec(folder, test=t, verify=False) for t in ("full", "extract")],
    "ihdp": lambda folder: datasets.load_ihdp(folder, verify=False),
    "acic2016": lambda folder: datasets.load_acic2016(folder, verify=False),
}


def _data_set(name: str) -> Target:
    def check(draw: tuple[int, Any, str]) -> str:
        which, how, packing = draw
        files = dict(_sound(name))
        chosen = list(files)[which % len(files)]
        content, end = damage.packed(files.pop(chosen), how, packing)
        with tempfile.TemporaryDirectory() as folder:
            for file, sound in files.items():
                (Path(folder) / file).write_bytes(sound)
            (Path(folder) / f"{chosen}{end}").write_bytes(content)
            return _read(lambda: LOADERS[name](Path(folder)), DatasetError, folder)

    return Target(st.tuples(st.integers(0, 4), damage.changes, damage.packing), check, 5 if name == "acic2016" else 2)


# ---------------------------------------------------------------------- a user's own tables and run files


def _ratings(labels: bool) -> Target:
    sound = _lines([(f"u{k % 4}", f"i {k}", k % 5) if labels else (k % 4, k, k % 5) for k in range(12)])

    def check(draw: tuple[Any, str]) -> str:
        content, end = damage.packed(b"user,item,rating\n" + sound, *draw)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"own.csv{end}"
            path.write_bytes(content)
            return _read(lambda: datasets.read_ratings(path, labels=labels), (DatasetError, UnknownNameError), path)

    return Target(st.tuples(damage.changes, damage.packing), check)


def _check_table(draw: tuple[Any, str, bool]) -> str:
    how, packing, parquet = draw
    frame = pandas.DataFrame({"x": [0.5, 1.5], "region": ["north", "south"], "t": [0, 1]})
    sound = frame.to_parquet() if parquet else frame.to_csv(index=False).encode()
    content, end = damage.packed(sound, how, "plain" if parquet else packing)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"own.{'parquet' if parquet else 'csv'}{end}"
        path.write_bytes(content)
        return _read(lambda: read_table(path), DatasetError, path)


def _check_run(how: Any) -> str:
    sound = b'command = "fit"\nsystem = "ips"\nseed = 3\n[parameter]\nepochs = 20\nrepresentation = [60, 60]\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_bytes(damage.damaged(sound, how))
        return _read(lambda: read_run(path), ValueError, path)


def _check_setting(text: str) -> str:
    return _read(lambda: settings([text]), ValueError, "--parameter must be name=value")


# ---------------------------------------------------------------------- model files and checkpoints


@functools.cache
def _saved(room: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        _fit(room, checkpoint=path if room == "checkpoint" else None, save=None if room == "checkpoint" else path)
        return path.read_bytes()


def _fit(room: str, save: Path | None = None, **files: Any) -> None:
    if room == "ite":
        units = datasets.make_treatments(60, random_state=0)
        small = {"epochs": 1, "representation": [4], "heads": [4], "selection": None, "random_state": 0}
        model = ite.create("escfr", **small).fit(units.X, units.y, treatment=units.treatment)
    else:
        data = datasets.make_ratings(8, 9, density=0.4, test_per_user=2, random_state=0)
        model = recommender.create("ips-wbm", epochs=2, embedding_dim=2, batch_size=16, random_state=0, validation=None)
        model.fit(data.train, **files)
    if save is not None:
        model.save(save)


def _open(room: str, content: bytes, crafted: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(content)
        if room != "checkpoint":
            return _read(lambda: wbm_ext.load(path), FileFormatError, path)
        # A fit goes on from it. Where sound values of wrong kinds were put into it, the fit may end with any error.
        refusal = Exception if crafted else (FileFormatError, ValueError)
        return _read(lambda: _fit(room, resume=path), refusal, "" if crafted else path)


def _check_document(room: str) -> Callable[[Any], str]:
    def check(draw: tuple[str, Any, Any]) -> str:
        kind, how, values = draw
        sound = _saved(room)
        if kind == "bytes":
            return _open(room, damage.damaged(sound, how), crafted=False)
        if kind == "description":
            return _open(room, damage.damaged_description(sound, how), crafted=True)
        with tempfile.NamedTemporaryFile() as file:
            file.write(sound)
            file.flush()
            document = copy.deepcopy(torch.load(file.name, weights_only=True))
        with tempfile.NamedTemporaryFile() as file:
            torch.save(damage.changed_values(document, values), file.name)
            return _open(room, Path(file.name).read_bytes(), crafted=True)

    return check


def _document(room: str) -> Target:
    kinds = st.sampled_from(["bytes", "description", "values", "values"])
    return Target(st.tuples(kinds, damage.changes, damage.values), _check_document(room), 2)


TARGETS: dict[str, Target] = {
    **{name: _data_set(name) for name in LOADERS},
    "ratings": _ratings(labels=False),
    "labelled-ratings": _ratings(labels=True),
    "table": Target(st.tuples(damage.changes, damage.packing, st.booleans()), _check_table),
    "run-file": Target(damage.changes, _check_run),
    "parameter": Target(st.text(max_size=30), _check_setting),
    "recommender-file": _document("recommender"),
    "effect-file": _document("ite"),
    "checkpoint": _document("checkpoint"),
    "arguments": Target(calls(), check_call),
}
"""Name -> target."""
