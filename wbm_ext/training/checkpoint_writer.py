"""The checkpoint and the log of a run, written epoch by epoch by rank 0 alone."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from torch import nn

from wbm_ext.persistence import PathLike, check_target
from wbm_ext.training import distributed
from wbm_ext.training.checkpoint import Checkpoint, State, read_checkpoint, resume_from
from wbm_ext.training.history import History
from wbm_ext.training.log import EpochLog
from wbm_ext.training.phases import Update


class CheckpointWriter:
    """Puts a run back where its checkpoint has it, then writes checkpoint and log epoch by epoch.

    Parameters are those of :func:`wbm_ext.training.train`; ``configuration`` already holds all that must be equal.

    Attributes
    ----------
    epoch : int
        The last epoch that is behind the run; 0 for a fresh one.
    best : {name: Tensor} or None
        The best state so far.
    """

    def __init__(
        self,
        model: nn.Module,
        updates: Sequence[Update],
        history: History,
        state: Mapping[str, Any],
        callbacks: Sequence[Any],
        configuration: Mapping[str, Any],
        *,
        checkpoint: PathLike | None,
        every: int,
        resume: bool | PathLike,
        log: PathLike | None,
    ) -> None:
        self.epoch, self._saved = 0, 0
        self.best: State | None = None
        self._history, self._path, self._every = history, checkpoint, every
        self._log: EpochLog | None = None
        self._seconds_before, self._begin = 0.0, time.perf_counter()
        if None not in (checkpoint, log) and os.path.realpath(str(checkpoint)) == os.path.realpath(str(log)):
            raise ValueError(f"checkpoint and log must be different files; got {checkpoint} for both")
        for target in (checkpoint, log):
            if target is not None and distributed.is_first():
                check_target(target)
        source = resume_from(resume, checkpoint)
        if checkpoint is not None or resume is not False:
            source = distributed.from_first(source)  # one rank decides: files may appear while the others look
        if checkpoint is not None or source is not None:
            self._checkpoint = Checkpoint(model, updates, history, state, callbacks, configuration)
        if source is not None:
            document = distributed.from_first(read_checkpoint(source) if distributed.is_first() else {})
            self.epoch, self.best = self._checkpoint.restore(document, source)
            self._saved = self.epoch
            self._seconds_before = history.seconds
        if log is not None and distributed.is_first():
            self._log = EpochLog(log, history.records)
        self._lap = time.perf_counter()

    def after_epoch(self, epoch: int, record: Mapping[str, float], best: State | None, *, ending: bool) -> None:
        """Write the log's line of ``epoch`` and, if it is due or the run is ``ending``, the checkpoint."""
        self.epoch = epoch
        now = time.perf_counter()
        if self._log is not None:
            self._log.write(record, now - self._lap)
        self._lap = now
        if self._path is not None and (ending or epoch % self._every == 0):
            if distributed.is_first():
                self._history.seconds = self._seconds_before + now - self._begin
                self._checkpoint.write(self._path, epoch, best)
                self._history.seconds = self._seconds_before
            self._saved = epoch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.close()
        if isinstance(error, KeyboardInterrupt) and self._path is not None and self._saved:
            error.add_note(
                f"stopped in epoch {self.epoch + 1}; {self._path} holds the run after epoch {self._saved}: "
                "start it again with resume=True (--resume) to go on"
            )
