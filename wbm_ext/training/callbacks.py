"""What may watch a run, and end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Record = dict[str, float]
Function = Callable[[int, Record], Any]


class Callback:
    """Base of callbacks; each method does nothing here. A plain function serves as ``on_epoch_end``.

    A callback with ``state_dict()`` and ``load_state_dict(state)`` (tensors and plain values) is kept in checkpoints.
    Under data-parallel training every rank calls its own; what one alone should do (print, write) asks
    ``wbm_ext.training.distributed.is_first()``.

    Examples
    --------
    >>> from wbm_ext.training import Callback
    >>> class Until(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch_end(self, epoch, record):
    ...         return record["loss"] < self.loss
    """

    def on_epoch_start(self, epoch: int) -> None:
        """Before the first step of ``epoch`` (from 1), with the model in training mode."""

    def on_epoch_end(self, epoch: int, record: Record) -> bool | None:
        """After validation, without gradients, with the model in evaluation mode.

        May add figures to ``record``, under names that are free. Return True to make this epoch the last one
        (``History.stopped`` is then "callback"); anything else goes on.
        """
        return None


def check_callbacks(callbacks: object) -> None:
    """Raise TypeError unless ``callbacks`` is a sequence of :class:`Callback` or callables."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise TypeError(f"callbacks must be a sequence of Callback or of callables; got {type(callbacks).__name__}")
    for place, callback in enumerate(callbacks):
        if not isinstance(callback, Callback) and not callable(callback):
            raise TypeError(
                f"callbacks must hold Callback or callables (epoch, record); got {type(callback).__name__} at {place}"
            )


def start_epoch(callbacks: Sequence[Callback | Function], epoch: int) -> None:
    """Tell all that ``epoch`` begins."""
    for callback in callbacks:
        if isinstance(callback, Callback):
            callback.on_epoch_start(epoch)


def end_epoch(callbacks: Sequence[Callback | Function], epoch: int, record: Record) -> bool:
    """Hand the record to all, in order; return whether one of them asks to stop."""
    answers = [
        callback.on_epoch_end(epoch, record) if isinstance(callback, Callback) else callback(epoch, record)
        for callback in callbacks
    ]
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)
