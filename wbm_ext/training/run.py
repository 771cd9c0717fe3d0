"""The files and random streams of a fit, which may have several stages."""

from __future__ import annotations

import glob
import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wbm_ext.training.checkpoint import read_checkpoint
from wbm_ext.training.distributed import from_first, is_first
from wbm_ext.training.seeding import Seed, Streams

_STREAMS = "streams"


class Run:
    """What an estimator hands from ``fit`` to each :func:`wbm_ext.training.train` of its stages.

    The main stage uses the files as they are named; a stage before it, say "propensity", has its own beside them:
    ``<checkpoint>`` and ``<checkpoint>.propensity``. A stage that is behind a resumed run is read from its file and
    takes no step.

    Parameters
    ----------
    random_state : int, generator of torch or numpy, or None
        Of the estimator. Where it is no integer, a resumed run takes up the streams of its checkpoint.
    checkpoint, checkpoint_every, resume, log
        As in :func:`wbm_ext.training.train`.
    configuration : {name: plain value}
        What must be equal for the run to go on: parameters, fingerprint of the data.
    epochs : int, optional
        Of the estimator. A run of one stage may be lengthened; one of several may not, since the later rest on the
        earlier, so there it must be equal too.

    Attributes
    ----------
    streams : Streams

    Raises
    ------
    FileNotFoundError
        ``resume`` is a path, and no stage has left a file there.
    """

    def __init__(
        self,
        random_state: Seed,
        *,
        configuration: Mapping[str, Any],
        epochs: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool | str | os.PathLike[str] = False,
        log: str | os.PathLike[str] | None = None,
    ) -> None:
        if resume is True and checkpoint is None:
            raise ValueError("resume=True needs checkpoint=path, the file to go on from; got checkpoint=None")
        self._checkpoint, self._every = _path(checkpoint), checkpoint_every
        self._log, self._configuration = _path(log), dict(configuration)
        self._epochs, self._several = epochs, False
        self._source = None if resume is False else self._checkpoint if resume is True else Path(resume)
        written = from_first(self._written())  # one rank decides: files may appear while the others look
        if not isinstance(resume, bool) and not written:
            raise FileNotFoundError(f"resume: there is no checkpoint {resume}")
        self.streams = Streams(random_state)
        if written and not isinstance(random_state, int | np.integer):
            entropy = read_checkpoint(written[0])["streams"][_STREAMS]["entropy"] if is_first() else 0
            self.streams = Streams(from_first(entropy))

    def _written(self) -> list[Path]:
        """Return the checkpoints that this run may go on from, the main one first."""
        if self._source is None:
            return []
        source = self._source
        stages = sorted(source.parent.glob(glob.escape(source.name) + ".*")) if source.parent.is_dir() else []
        # a log, say, may be called <checkpoint>.jsonl
        return [path for path in (source, *filter(zipfile.is_zipfile, stages)) if path.is_file()]

    def options(self, stage: str = "", **state: Any) -> dict[str, Any]:
        """Return the keyword arguments of ``train`` for ``stage`` ("" is the main one).

        ``state``: what changes during the stage beside the streams; see :class:`Attributes`.
        """
        source = _staged(self._source, stage)
        self._several = self._several or bool(stage)
        fixed = {"stage": stage, **({"epochs": self._epochs} if self._several else {})}
        return {
            "checkpoint": _staged(self._checkpoint, stage),
            "checkpoint_every": self._every,
            "resume": False if source is None else from_first(source if source.is_file() else False),
            "log": _staged(self._log, stage),
            "state": {_STREAMS: self.streams, **state},
            "configuration": {**fixed, **self._configuration},
        }


class Attributes:
    """Attributes of an object that change during training, as something a checkpoint can hold."""

    def __init__(self, owner: Any, names: Sequence[str]) -> None:
        self.owner, self.names = owner, tuple(names)

    def state_dict(self) -> dict[str, Any]:
        """Return the values."""
        return {name: getattr(self.owner, name) for name in self.names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the values."""
        for name in self.names:
            setattr(self.owner, name, state[name])


def fingerprint(*arrays: Any) -> str:
    """Return a short text that differs, in all likelihood, between arrays that differ in shape, type or content."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes() if array.dtype.kind != "O" else repr(array.tolist()).encode())
    return digest.hexdigest()[:16]


def _path(value: str | os.PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


def _staged(path: Path | None, stage: str) -> Path | None:
    return path if path is None or not stage else path.with_name(f"{path.name}.{stage}")
