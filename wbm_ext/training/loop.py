"""The training loop: epochs, steps, validation, early stop, restoration of the best state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from wbm_ext.training.history import History
from wbm_ext.training.phases import Phase, Step, as_updates, finite_validation, mean_terms, take_step

Callback = Callable[[int, dict[str, float]], None]


def train(
    model: nn.Module,
    step: Step | Sequence[Phase],
    batches: Iterable[Any],
    *,
    epochs: int,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 0.01,
    weight_decay: float = 0.0,
    validate: Callable[[], float] | None = None,
    patience: int = 5,
    min_epochs: int = 1,
    progress: bool = False,
    description: str = "training",
    callbacks: Sequence[Callback] = (),
) -> History:
    """Minimise the sum of the terms that ``step`` returns, over ``epochs`` passes through ``batches``.

    Parameters
    ----------
    model : nn.Module
        Its parameters are updated in place; in training mode during steps, in evaluation mode during
        validation, callbacks and at the end.
    step : callable, batch -> {name: scalar tensor}
        The named loss terms of one batch, each already multiplied by its weight. Their **sum** is minimised.
        A sequence of :class:`~wbm_ext.training.Phase` instead makes several updates a batch, each with terms,
        parameters and an optimiser of its own; ``loss`` is then the sum of the terms of all.
    batches : iterable
        Iterated afresh every epoch (so not a generator that is spent after one pass).
    epochs : int
        Largest number of epochs.
    optimizer : torch.optim.Optimizer, optional
        Default: Adam(``lr``, ``weight_decay``) over all parameters that require a gradient. Parameters it does
        not hold get no gradient.
    validate : callable () -> float, optional
        Called after each epoch without gradients; lower is better.
    patience : int
        Stop after this many epochs without a better validation value (only with ``validate``).
    min_epochs : int
        Never stop before this epoch. The best epoch may still lie before it.
    progress : bool
        Show a tqdm bar over the epochs with loss and validation value, on standard error.
    callbacks : sequence of callables (epoch, record) -> None
        Called after validation; may add figures to ``record``.

    Returns
    -------
    History
        One record an epoch. With ``validate`` the model ends with the parameters of ``best_epoch`` (a clone
        taken then, not a view of the live ones); without it, with those of the last epoch.

    Raises
    ------
    FloatingPointError
        If a term is NaN or infinite in some step, or the validation value is; names epoch, step and term.
        Checked at the end of each epoch, so that a step on a GPU needs no synchronisation.
    ValueError
        If ``batches`` yields nothing in some epoch, or ``step`` returns no term.
    """
    updates = as_updates(model, step, optimizer, lr, weight_decay)
    history = History()
    best: dict[str, torch.Tensor] | None = None
    best_value = math.inf
    start = time.perf_counter()

    with tqdm(total=epochs, desc=description, disable=not progress, unit="epoch", leave=False) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            values: list[dict[str, torch.Tensor]] = []
            for batch in batches:
                values.append(take_step(updates, batch))
            record = mean_terms(values, epoch)

            model.eval()
            with torch.no_grad():
                if validate is not None:
                    record["validation"] = finite_validation(float(validate()), epoch)
                for callback in callbacks:
                    callback(epoch, record)
            history.records.append(record)
            bar.set_postfix({key: f"{record[key]:.4f}" for key in ("loss", "validation") if key in record})
            bar.update()

            if validate is None:
                history.best_epoch = epoch
            elif record["validation"] < best_value:
                best_value = record["validation"]
                best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                history.best_epoch, history.best_validation = epoch, best_value
            elif epoch >= min_epochs and epoch - (history.best_epoch or 0) >= patience:
                history.stopped = "patience"
                break

    if best is not None:
        model.load_state_dict(best)
    model.eval()
    history.seconds = time.perf_counter() - start
    return history
