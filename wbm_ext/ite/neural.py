"""The estimator all neural systems share: one representation-and-heads model, one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wbm_ext.errors import check_name
from wbm_ext.ite.arguments import check_training
from wbm_ext.ite.base import EffectEstimator
from wbm_ext.ite.batches import Batch, UnitBatches
from wbm_ext.ite.defaults import default
from wbm_ext.ite.networks import ACTIVATIONS, RepresentationModel
from wbm_ext.ite.selection import CRITERIA, Judges, hold_out, loss_of
from wbm_ext.parameters import check_device, check_flag, check_integer, check_number
from wbm_ext.training import Streams, train

_CHUNK = 1 << 16
Callback = Callable[[int, dict[str, float]], None]


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralEstimator(EffectEstimator):
    """L = L_F + the penalties of the system; L_F is the error of the factual outcomes.

    All defaults: :data:`wbm_ext.ite.defaults.TABLE`.

    Parameters
    ----------
    representation, heads : sequence of int
        Widths of the layers of ψ, and of the hidden layers of φ.
    activation : {"elu", "leaky_relu", "relu", "tanh"}
    learning_rate, weight_decay : float
        Of Adam; the decay acts on all parameters.
    batch_size : int
    drop_last : bool
        Leave out, in each epoch, the random units that fill no whole batch.
    epochs : int
        Largest number of epochs.
    factual_loss : {"batch", "groups"}
        L_F: the mean over the batch, or the sum of the means of the two groups (ESCFR, Eq. 13), which counts a unit
        of the smaller group more.
    scale_outcome : bool
        Train on (y - mean) / sd. False, as published: on y - mean, which is the published loss with output biases that
        start at the mean of y. With True, penalties weigh against a loss without unit; γ is rescaled.
    selection : {"auuc", "factual", "matched_pehe", None}
        What decides the best epoch, on held-out units and their factual outcomes alone: see
        :class:`~wbm_ext.ite.selection.Judges`. None: nothing is held out, the last epoch is kept. AUUC says nothing
        where effects are constant.
    validation_fraction : float
        Share of each treatment group that is held out.
    patience, min_epochs : int
        Epochs without a better value before training stops, and before which it never does.
    progress : bool
        Show a bar over the epochs.
    device : str
        Where to train, e.g. "cpu" or "cuda".
    dtype : {"float32", "float64"}
        Of parameters and losses.

    Other parameters: :class:`~wbm_ext.ite.base.EffectEstimator`.

    Attributes
    ----------
    model_ : nn.Module
    history_ : History
        One record an epoch: each loss term, the three criteria as ``validation_*``, the system's diagnostics, and
        ``one_group``, the share of batches with treated or untreated units only, for which penalties are 0.
    location_, spread_ : float
        Outcomes are trained as (y - location) / spread.
    """

    representation: Sequence[int] = default("representation")
    heads: Sequence[int] = default("heads")
    activation: str = default("activation")
    learning_rate: float = default("learning_rate")
    weight_decay: float = default("weight_decay")
    batch_size: int = default("batch_size")
    drop_last: bool = True
    epochs: int = default("epochs")
    factual_loss: str = "batch"
    scale_outcome: bool = False
    selection: str | None = default("selection")
    validation_fraction: float = default("validation_fraction")
    patience: int = default("patience")
    min_epochs: int = default("min_epochs")
    progress: bool = False
    device: str = "cpu"
    dtype: str = "float32"

    _shared_head: ClassVar[bool] = False

    # ------------------------------------------------------------------ what a system may change

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for part in ("representation", "heads"):
            widths = getattr(self, part)
            if not isinstance(widths, Sequence) or isinstance(widths, str):
                raise TypeError(f"{part} must be a sequence of widths; got {type(widths).__name__}")
            for width in widths:
                check_integer(f"each width of {part}", width)
        check_name("activation", self.activation, ACTIVATIONS)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("weight_decay", self.weight_decay, least=0)
        for count in ("batch_size", "epochs", "patience", "min_epochs"):
            check_integer(count, getattr(self, count))
        for flag in ("drop_last", "scale_outcome", "progress"):
            check_flag(flag, getattr(self, flag))
        check_name("factual_loss", self.factual_loss, ["batch", "groups"])
        if self.selection is not None:
            check_name("selection", self.selection, CRITERIA)
        check_number("validation_fraction", self.validation_fraction, above=0, below=1)
        check_name("dtype", self.dtype, ["float32", "float64"])
        check_device(self.device)

    def _network(self, n_in: int, **options: Any) -> nn.Module:
        return RepresentationModel(
            n_in, self.representation, self.heads, activation=self.activation, shared=self._shared_head, **options
        )

    def _penalties(self, batch: Batch, r: Tensor, outcomes: Tensor) -> dict[str, Tensor]:
        """Return the named terms beside L_F; ``r`` (B, k) representations, ``outcomes`` (2, B) of both heads."""
        return {}

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        """Add figures to an epoch's record."""

    def _factual_error(self, batch: Batch, outcomes: Tensor) -> Tensor:
        """Return L_F, a scalar, from both outcomes (2, B)."""
        n = batch.treated
        factual = torch.cat([outcomes[1, :n], outcomes[0, n:]])
        if self.factual_loss == "batch":
            return mse_loss(factual, batch.y)
        groups = [part for part in (slice(0, n), slice(n, None)) if len(batch.y[part])]
        return sum(mse_loss(factual[part], batch.y[part]) for part in groups)

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        treatment: Any,
        validation: tuple[Any, Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Fit to covariates (n, p), outcomes (n,) and treatment (n,) of 0 and 1.

        Parameters
        ----------
        X : DataFrame or array
        y, treatment : array
        validation : tuple (X, y, treatment), optional
            Units that choose the epoch, in the place of a held-out part.
        callbacks : sequence of callables (epoch, record) -> None
            Called after each epoch, when the estimator can already be asked; may add figures to the record.

        Raises
        ------
        TypeError, ValueError
            Naming argument, column and row; before any training.
        """
        x, outcomes, treated, streams = self._intake(X, y, treatment)
        judges, trained = self._judges(x, outcomes, treated, validation, streams)
        self._train(x[trained], outcomes[trained], treated[trained], judges, streams, callbacks)
        return self._bootstrap(x, outcomes, treated, streams)

    def _judges(
        self, x: NDArray, y: NDArray, treated: NDArray, validation: tuple[Any, Any, Any] | None, streams: Streams
    ) -> tuple[Judges | None, NDArray[np.int64]]:
        """Return who judges the epochs, and the positions of the units to train on."""
        everyone = np.arange(len(y))
        if validation is not None:
            if not isinstance(validation, Sequence) or len(validation) != 3:
                raise TypeError(f"validation must be a tuple of X, y and treatment; got a {type(validation).__name__}")
            other_x = self._encode(validation[0])
            other_y, other_treated = check_training(other_x, *validation[1:])
            pool = tuple(map(np.concatenate, ((x, other_x), (y, other_y), (treated, other_treated))))
            return Judges(other_x, other_y, other_treated, pool), everyone
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
        streams: Streams,
        callbacks: Sequence[Callback],
    ) -> None:
        dtype = getattr(torch, self.dtype)
        self.location_ = float(y.mean())
        self.spread_ = float(y.std()) or 1.0 if self.scale_outcome else 1.0
        self.model_ = self._network(x.shape[1], generator=streams.torch("init"), dtype=dtype).to(self.device)
        batches = UnitBatches(
            torch.as_tensor(x, dtype=dtype, device=self.device),
            torch.as_tensor((y - self.location_) / self.spread_, dtype=dtype, device=self.device),
            torch.as_tensor(treated, device=self.device),
            self.batch_size,
            drop_last=self.drop_last,
            generator=streams.torch("batches"),
        )
        figures: dict[str, float] = {}

        def judge() -> float:
            figures.update(judges(self._outcomes(judges.x)))
            return loss_of(self.selection, figures)

        def report(epoch: int, record: dict[str, float]) -> None:
            if judges is not None and self.selection is None:
                figures.update(judges(self._outcomes(judges.x)))
            record.update({f"validation_{name}": value for name, value in figures.items()})
            record["one_group"] = self._one_group / len(batches)
            self._diagnose(epoch, record)
            self._start_epoch(epoch + 1)

        self._start_epoch(1)
        self.history_ = train(
            self.model_,
            self._terms,
            batches,
            epochs=self.epochs,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            validate=None if judges is None or self.selection is None else judge,
            patience=self.patience,
            min_epochs=self.min_epochs,
            progress=self.progress,
            description=self.name or type(self).__name__,
            callbacks=[report, *callbacks],
        )

    def _start_epoch(self, epoch: int) -> None:
        self._epoch, self._one_group = epoch, 0

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        self._one_group += batch.one_group
        r = self.model_.represent(batch.x)
        outcomes = self.model_.heads(r)
        return {"factual": self._factual_error(batch, outcomes), **self._penalties(batch, r, outcomes)}

    def _replicate_parameters(self) -> dict[str, Any]:
        return {**super()._replicate_parameters(), "progress": False}

    # ------------------------------------------------------------------ after fit

    def represent(self, X: Any) -> NDArray[np.float64]:
        """Return the representation ψ(x) of each unit, (n, k)."""
        return self._over(self.model_.represent, self._encode(X), 0)

    def _outcomes(self, x: NDArray) -> NDArray[np.float64]:
        both = self._over(lambda part: self.model_.heads(self.model_.represent(part)), x, 1)
        return self.location_ + self.spread_ * both.T

    def _over(self, function: Callable[[Tensor], Tensor], x: NDArray, axis: int) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = torch.as_tensor(x, dtype=getattr(torch, self.dtype), device=self.device).split(_CHUNK)
            return torch.cat([function(part) for part in parts], axis).double().cpu().numpy()
