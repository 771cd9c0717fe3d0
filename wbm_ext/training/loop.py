"""The training loop: epochs, steps, validation, early stop, restoration of the best state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from wbm_ext.training.history import History

Step = Callable[[Any], Mapping[str, torch.Tensor]]
Callback = Callable[[int, dict[str, float]], None]


def train(
    model: nn.Module,
    step: Step,
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
    batches : iterable
        Iterated afresh every epoch (so not a generator that is spent after one pass).
    epochs : int
        Largest number of epochs.
    optimizer : torch.optim.Optimizer, optional
        Default: Adam(``lr``, ``weight_decay``) over all parameters that require a gradient.
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
    optimizer = optimizer or _adam(model, lr, weight_decay)
    history = History()
    best: dict[str, torch.Tensor] | None = None
    best_value = math.inf
    start = time.perf_counter()

    with tqdm(total=epochs, desc=description, disable=not progress, unit="epoch", leave=False) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            values: list[dict[str, torch.Tensor]] = []
            for batch in batches:
                terms = step(batch)
                if not terms:
                    raise ValueError("step returned no loss term")
                loss = torch.stack([term.reshape(()) for term in terms.values()]).sum()
                optimizer.zero_grad(set_to_none=True)
                if loss.requires_grad:
                    loss.backward()
                    optimizer.step()
                values.append({name: term.detach() for name, term in terms.items()})
            record = _means(values, epoch)

            model.eval()
            with torch.no_grad():
                if validate is not None:
                    record["validation"] = _finite(float(validate()), epoch)
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


def _adam(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _means(values: list[dict[str, torch.Tensor]], epoch: int) -> dict[str, float]:
    """Average the terms over the steps of an epoch; raise at the first step that is not finite."""
    if not values:
        raise ValueError(f"batches yielded nothing in epoch {epoch}; it must be iterable once an epoch")
    names = list(dict.fromkeys(name for value in values for name in value))
    record: dict[str, float] = {"epoch": float(epoch), "loss": 0.0}
    first: tuple[int, str, float] | None = None
    for name in names:
        series = [(index, value[name]) for index, value in enumerate(values) if name in value]
        stacked = torch.stack([term.reshape(()) for _, term in series]).double().cpu()
        bad = torch.nonzero(~torch.isfinite(stacked)).flatten()
        if len(bad) and (first is None or series[int(bad[0])][0] < first[0]):
            first = (series[int(bad[0])][0], name, float(stacked[bad[0]]))
        record[name] = float(stacked.mean())
        record["loss"] += float(stacked.sum()) / len(values)
    if first is not None:
        index, name, value = first
        raise FloatingPointError(
            f"loss term {name!r} became {value} in epoch {epoch}, step {index + 1} of {len(values)}; "
            "a smaller learning rate or stronger clipping usually helps"
        )
    return record


def _finite(value: float, epoch: int) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"the validation value became {value} in epoch {epoch}")
    return value
