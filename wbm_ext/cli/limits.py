"""How long a fit takes: an estimate after its first epoch, and an end in time."""

from __future__ import annotations

import time
from typing import Any

from wbm_ext.cli.outcome import note
from wbm_ext.training import Callback


class TimeLimit(Callback):
    """Says after the first epoch how long all of them would take, and ends the training before ``minutes`` are over.

    Parameters
    ----------
    epochs : int
        Largest number of epochs.
    minutes : float or None
        From now on; None: no end.
    """

    def __init__(self, epochs: int, minutes: float | None) -> None:
        self.epochs, self.minutes = epochs, minutes
        self._begin = self._first = time.perf_counter()
        self._done = 0

    def on_epoch_start(self, epoch: int) -> None:
        """Take the time at which the first epoch begins: earlier stages are behind it."""
        if not self._done:
            self._first = time.perf_counter()

    def on_epoch_end(self, epoch: int, record: dict[str, float]) -> bool | None:
        """Return True where another epoch would end too late."""
        self._done += 1
        now = time.perf_counter()
        each = (now - self._first) / self._done
        if self._done == 1 and each * (self.epochs - epoch) > 5:
            note(
                f"an epoch takes {each:.2g} s: at most {_spoken(each * (self.epochs - epoch))} for {self.epochs} epochs"
            )
        if self.minutes is not None and now - self._begin + each > 60 * self.minutes:
            note(f"--max-minutes {self.minutes:g}: ended after epoch {epoch} of at most {self.epochs}")
            return True
        return None


def limits(model: Any, minutes: float | None) -> dict[str, Any]:
    """Return the arguments of ``fit`` that watch its time; none for a system that has no epochs."""
    if minutes is not None and minutes <= 0:
        raise ValueError(f"--max-minutes must be more than 0; got {minutes:g}")
    if not hasattr(model, "epochs"):
        if minutes is not None:
            raise ValueError(f"--max-minutes does not go with system {model.name!r}, which has no epochs")
        return {}
    return {"callbacks": [TimeLimit(model.epochs, minutes)]}


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
