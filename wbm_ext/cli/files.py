"""The files of a command: none is lost under another, and each can be written, before any work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wbm_ext.cli.runfile import HEAD, read_run
from wbm_ext.datasets.text import PARQUET, SEPARATORS, check_kind
from wbm_ext.errors import require_extra

STAGES = ("propensity", "first", "second")  # of fits with several; their checkpoints and logs stand beside the main one


def check_files(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Raise unless every output can be written, and is neither an input nor another output.

    Parameters
    ----------
    outputs, inputs : {what it is called: path}
        Called by the option, ``--out`` say.

    Raises
    ------
    ValueError, OSError
        Naming the options.
    """
    from wbm_ext.persistence import check_target

    written = {called: path for called, path in outputs.items() if path is not None}
    for called, path in written.items():
        try:
            check_target(path)
        except OSError as error:
            raise type(error)(f"{called} {error}") from None
    read = {called: path for called, path in inputs.items() if path is not None}
    earlier: dict[str, Path] = {}
    for called, path in written.items():
        for other, given in read.items():
            if _same(path, given):
                raise ValueError(f"{called} {path} would replace {other} {given}, which is read; give it another name")
        for other, given in earlier.items():
            if _same(path, given):
                raise ValueError(f"{other} {given} and {called} {path} are one file; give them different names")
        earlier[called] = path


def staged(called: str, path: Path | None) -> dict[str, Path]:
    """Return the files that the earlier stages of a fit may write beside ``path``."""
    return {} if path is None else {f"{called} (stage {stage})": Path(f"{path}.{stage}") for stage in STAGES}


def run_file(path: Path, command: str, config: Path | None) -> dict[str, Path]:
    """Return where the run file of an output goes, as an output of its own.

    Raises
    ------
    ValueError
        A file is there that no run of ``command`` has written.
    """
    target = path.with_suffix(".toml")
    if target.is_file():
        head = target.read_text(encoding="utf-8", errors="replace")[: len(HEAD)]
        before = read_run(target).get("command") if head == HEAD else None
        if before != command:
            what = f"the run file of a 'wbm {before}'" if before else "no run file of this command"
            again = " it was read as --config;" if config is not None and _same(config, target) else ""
            raise ValueError(
                f"--out {path} comes with the run file {target}, but that is {what};{again} give another --out"
            )
    return {"the run file": target}


def write_frame(frame: Any, path: Path) -> None:
    """Write a DataFrame without its index; the file appears whole or not at all."""
    from wbm_ext.persistence import atomic_write

    kind = check_kind(path)
    if kind in PARQUET:
        require_extra("pyarrow", "data", f"writing {path.name}")
        atomic_write(path, lambda file: frame.to_parquet(file, index=False))
    else:
        compression = "gzip" if path.suffix == ".gz" else None
        atomic_write(path, lambda file: frame.to_csv(file, index=False, sep=SEPARATORS[kind], compression=compression))


def check_columns(frame_columns: Iterable[str]) -> list[str]:
    """Return the columns of a table to be written, each once."""
    names = list(frame_columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"the result would have two columns named {twice[0]!r}; rename the one in the table")
    return names


def _same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
