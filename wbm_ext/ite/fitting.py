"""``fit`` of the neural systems: who judges the epochs, the call of the training loop, its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from wbm_ext.ite.arguments import check_training
from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.batches import UnitBatches
from wbm_ext.ite.covariates import Covariates
from wbm_ext.ite.selection import Judges, hold_out, loss_of
from wbm_ext.parameters import check_integer
from wbm_ext.persistence import PathLike, Saveable
from wbm_ext.training import Callback, History, Run, Streams, distributed, fingerprint, train
from wbm_ext.training.callbacks import check_callbacks

Function = Callable[[int, dict[str, float]], Any]
Units = tuple[NDArray, NDArray, NDArray]

# What may differ when a run goes on; the random state is told by its streams.
_FREE = ("epochs", "progress", "device", "n_bootstrap", "n_jobs", "random_state")


class TrainedEstimator(Saveable, EffectEstimator):
    """Base of the systems that :func:`wbm_ext.training.train` fits.

    :class:`~wbm_ext.ite.neural.NeuralEstimator` has the parameters, the losses and the queries.
    """

    room: ClassVar[str] = "ite"
    learnt: ClassVar[dict[str, Any]] = {
        **{"model_": torch.nn.Module, "history_": History, "covariates_": Covariates, "replicates_": list},
        **{"n_features_in_": int, "feature_names_in_": np.ndarray | None, "location_": float, "spread_": float},
    }

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        treatment: Any,
        validation: tuple[Any, Any, Any] | None = None,
        callbacks: Sequence[Callback | Function] = (),
        checkpoint: PathLike | None = None,
        checkpoint_every: int = 1,
        resume: bool | PathLike = False,
        log: PathLike | None = None,
    ) -> Self:
        """Fit to covariates (n, p), outcomes (n,) and treatment (n,) of 0 and 1.

        Under ``torchrun`` every process makes the same call: each runs the networks on its share of a batch, the
        losses are those of the whole batch, and all end with the same model.

        Parameters
        ----------
        X : DataFrame or array
        y, treatment : array
        validation : tuple (X, y, treatment), optional
            Units that choose the epoch, in the place of a held-out part.
        callbacks : sequence of :class:`~wbm_ext.training.Callback` or of callables (epoch, record)
            Called after each epoch, when the estimator can already be asked; may add figures to the record, or return
            True to end the training.
        checkpoint, checkpoint_every, resume, log
            As in :func:`wbm_ext.training.train`: a run that is resumed with the same data and parameters ends bit for
            bit where an uninterrupted one ends.

        Raises
        ------
        TypeError, ValueError
            Naming argument, column and row; before any training.
        """
        x, outcomes, treated = self._intake(X, y, treatment)
        check_integer("checkpoint_every", checkpoint_every)
        check_callbacks(callbacks)
        distributed.start(self.device)
        others = self._validation_units(validation)
        run = Run(
            self.random_state,
            configuration=self._configuration(x, outcomes, treated, *others),
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
            log=log,
        )
        judges, trained = self._judges(x, outcomes, treated, others, run.streams)
        self._train(x[trained], outcomes[trained], treated[trained], judges, run, callbacks)
        return self._bootstrap(x, outcomes, treated, run.streams)

    def _validation_units(self, validation: Any) -> Units | tuple[()]:
        """Return x, y and treatment of the units given to judge; () if there are none."""
        if validation is None:
            return ()
        if not isinstance(validation, Sequence) or len(validation) != 3:
            size = f" of {len(validation)}" if isinstance(validation, Sequence) else ""
            raise TypeError(
                f"validation must be a tuple of X, y and treatment; got a {type(validation).__name__}{size}"
            )
        try:
            x = self._encode(validation[0])
            return x, *check_training(x, *validation[1:])
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None

    def _configuration(self, *data: NDArray) -> dict[str, Any]:
        """Return what must be the same for a fit to go on."""
        params = {name: value for name, value in self.get_params().items() if name not in _FREE}
        params["categorical"] = repr(params["categorical"])
        return {"system": self.name, "params": params, "data": fingerprint(*data)}

    def _judges(
        self, x: NDArray, y: NDArray, treated: NDArray, others: Units | tuple[()], streams: Streams
    ) -> tuple[Judges | None, NDArray[np.int64]]:
        """Return who judges the epochs, and the positions of the units to train on."""
        everyone = np.arange(len(y))
        if others:
            pool = [np.concatenate(pair) for pair in zip((x, y, treated), others, strict=True)]
            return Judges(*others, (pool[0], pool[1], pool[2])), everyone
        if self.selection is None:
            return None, everyone
        held = hold_out(treated, self.validation_fraction, streams)
        return Judges(x[held], y[held], treated[held], (x, y, treated)), np.delete(everyone, held)

    def _train(
        self,
        x: NDArray,
        y: NDArray,
        treated: NDArray,
        judges: Judges | None,
        run: Run,
        callbacks: Sequence[Callback | Function],
    ) -> None:
        device, dtype = distributed.local_device(self.device), getattr(torch, self.dtype)
        self.location_ = float(y.mean())
        self.spread_ = (float(y.std()) or 1.0) if self.scale_outcome else 1.0
        self.model_ = self._network(x.shape[1], generator=run.streams.torch("init"), dtype=dtype).to(device)
        batches = UnitBatches(
            torch.as_tensor(x, dtype=dtype, device=device),
            torch.as_tensor((y - self.location_) / self.spread_, dtype=dtype, device=device),
            torch.as_tensor(treated, device=device),
            self.batch_size,
            drop_last=self.drop_last,
            generator=run.streams.torch("batches"),
        )
        reporter = _Reporter(self, judges, len(batches))
        self.history_ = train(
            self.model_,
            self._step,
            batches,
            epochs=self.epochs,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            validate=None if judges is None or self.selection is None else reporter.judge,
            patience=self.patience,
            min_epochs=self.min_epochs,
            progress=self.progress,
            description=self.name or type(self).__name__,
            callbacks=[reporter, *callbacks],
            data_parallel=True,
            **run.options(),
        )
        self._conclude()

    def _conclude(self) -> None:
        """Look back on the finished training (warnings)."""

    def _chosen_record(self) -> dict[str, float]:
        """Return the record of the epoch whose weights were kept."""
        records = self.history_.records
        return records[(self.history_.best_epoch or len(records)) - 1] if records else {}

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        if "feature_names_in_" in state:
            state["feature_names_in_"] = self.feature_names_in_.astype(str)
        if state:
            state["replicates_"] = [replicate._state() for replicate in self.replicates_]
        return state

    def _set_state(self, state: dict[str, Any]) -> None:
        replicates = state.get("replicates_", ())
        super()._set_state(state)
        plain = self._replicate_parameters()
        self.replicates_ = [clone(self).set_params(**plain) for _ in replicates]
        for replicate, own in zip(self.replicates_, replicates, strict=True):
            replicate._set_state(own)


class _Reporter(Callback):
    """Figures of an epoch: the three criteria on the held-out units, and the system's diagnostics."""

    def __init__(self, estimator: Any, judges: Judges | None, steps: int) -> None:
        self.estimator, self.judges, self.steps = estimator, judges, steps
        self.figures: dict[str, float] = {}

    def judge(self) -> float:
        """Return the criterion by which epochs are selected, lower is better."""
        self._look()
        return loss_of(self.estimator.selection, self.figures)

    def _look(self) -> None:
        assert self.judges is not None
        self.figures = self.judges(self.estimator._outcomes(self.judges.x))

    def on_epoch_start(self, epoch: int) -> None:
        self.estimator._start_epoch(epoch)

    def on_epoch_end(self, epoch: int, record: dict[str, float]) -> None:
        if self.judges is not None and self.estimator.selection is None:
            self._look()
        record.update({f"validation_{name}": value for name, value in self.figures.items()})
        record["one_group"] = self.estimator._one_group / self.steps
        self.estimator._diagnose(epoch, record)
