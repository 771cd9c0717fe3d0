"""The estimator all neural systems share: one representation-and-heads model, one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wbm_ext.errors import check_name
from wbm_ext.ite.batches import Batch
from wbm_ext.ite.defaults import default
from wbm_ext.ite.fitting import TrainedEstimator
from wbm_ext.ite.networks import ACTIVATIONS, RepresentationModel
from wbm_ext.ite.selection import CRITERIA
from wbm_ext.parameters import check_device, check_flag, check_integer, check_number
from wbm_ext.training import distributed

_CHUNK = 1 << 16


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralEstimator(TrainedEstimator):
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
        Train on (y - mean) / sd: penalties then weigh against a loss without unit; γ is rescaled. False, as published:
        on y - mean, which is the published loss with output biases that start at the mean of y.
    selection : {"auuc", "factual", "matched_pehe", None}
        What decides the best epoch, on held-out units and their factual outcomes alone: see
        :class:`~wbm_ext.ite.selection.Judges`. None: nothing is held out, the last epoch is kept. The default is the
        paper's; in the study on ACIC 2016 and IHDP the factual error lost 7 % of PEHE against the best epoch on the
        mean, matched PEHE 35 %, AUUC 38 %, and AUUC says nothing where effects are constant.
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
    scale_outcome: bool = True
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
        factual = batch.factual(outcomes)
        if self.factual_loss == "batch":
            return mse_loss(factual, batch.y)
        groups = [part for part in (slice(0, n), slice(n, None)) if len(batch.y[part])]
        return torch.stack([mse_loss(factual[part], batch.y[part]) for part in groups]).sum()

    # ------------------------------------------------------------------ training

    def _start_epoch(self, epoch: int) -> None:
        self._epoch, self._one_group = epoch, 0

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms of a batch; under ``torchrun`` this rank's share of them."""
        self._one_group += batch.one_group
        if not distributed.is_distributed():
            r = self.model_.represent(batch.x)
            return self._terms(batch, r, self.model_.heads(r))
        part = self.model_.represent(distributed.shard(batch.x))
        whole = distributed.gather_batch({"r": part, "outcomes": self.model_.heads(part).T}, len(batch.y))
        terms = self._terms(batch, whole["r"], whole["outcomes"].T)
        return {name: distributed.share(term) for name, term in terms.items()}

    def _terms(self, batch: Batch, r: Tensor, outcomes: Tensor) -> dict[str, Tensor]:
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
            parts = torch.as_tensor(x).to(next(self.model_.parameters())).split(_CHUNK)
            return torch.cat([function(part) for part in parts], axis).double().cpu().numpy()
