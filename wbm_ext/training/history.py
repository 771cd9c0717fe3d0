"""What a training run leaves behind: one record an epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from wbm_ext.persistence import register


@dataclass
class History:
    """Records of a run of :func:`wbm_ext.training.train`.

    Attributes
    ----------
    records : list of dict
        One an epoch: ``epoch`` (from 1), ``loss`` (mean over the batches of the sum of the terms), each
        term's mean under its own name, ``validation`` where there is one, and whatever callbacks have added.
    best_epoch : int or None
        The epoch whose parameters the model holds at the end; None if no epoch was run.
    best_validation : float or None
        Its validation value, if validation was used.
    stopped : str
        ``"epochs"`` (all were run), ``"patience"`` (no better validation value for ``patience`` epochs) or
        ``"callback"`` (one asked for it).
    seconds : float
        Wall time of the run, over all its parts if it was resumed.
    """

    records: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    best_validation: float | None = None
    stopped: str = "epochs"
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.records)

    def take_validation(self, epoch: int, value: float | None, patience: int, min_epochs: int) -> bool:
        """Take the validation ``value`` of ``epoch`` (None: there is none); return whether it is the best so far.

        Without validation every epoch is. After ``patience`` epochs without a better value, but not before
        ``min_epochs``, ``stopped`` becomes "patience".
        """
        if value is None or self.best_validation is None or value < self.best_validation:
            self.best_epoch, self.best_validation = epoch, value
            return True
        if epoch >= min_epochs and epoch - (self.best_epoch or 0) >= patience:
            self.stopped = "patience"
        return False

    def column(self, name: str) -> list[float]:
        """Return the values of ``name`` over the epochs.

        Raises
        ------
        KeyError
            If no epoch has recorded ``name``; the message lists the names there are.
        """
        names = sorted({key for record in self.records for key in record})
        if name not in names:
            raise KeyError(f"the history has no column {name!r}; it has {names}")
        return [record.get(name, float("nan")) for record in self.records]


register("training.History", History, asdict, lambda fields: History(**fields))
