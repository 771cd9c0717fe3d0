"""The training loop: epochs, steps, validation, early stop, restoration of the best state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from wbm_ext.parameters import check_integer
from wbm_ext.persistence import PathLike
from wbm_ext.training import distributed
from wbm_ext.training.callbacks import Callback, Function, check_callbacks, end_epoch, start_epoch
from wbm_ext.training.checkpoint_writer import CheckpointWriter
from wbm_ext.training.determinism import deterministic as deterministic_mode
from wbm_ext.training.history import History
from wbm_ext.training.phases import Phase, Step, as_updates, finite_validation, mean_terms, take_step
from wbm_ext.training.step_threads import StepThreads


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
    callbacks: Sequence[Callback | Function] = (),
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 1,
    resume: bool | PathLike = False,
    state: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    log: PathLike | None = None,
    deterministic: bool = False,
    data_parallel: bool = False,
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
        Show a tqdm bar over the epochs with loss, validation value and time left, on standard error.
    callbacks : sequence of :class:`~wbm_ext.training.Callback` or of callables (epoch, record) -> None
        Called after validation; may add figures to ``record``, or return True to end the run.
    checkpoint : path, optional
        File that holds all that the run needs to go on, replaced atomically after every ``checkpoint_every``-th
        epoch and the last one.
    resume : bool or path
        True: go on from ``checkpoint`` if it is there; a path: from that file. The run then ends bit for bit where
        it would have ended without a break: parameters, history (but for ``seconds``), random streams. More
        ``epochs`` than before lengthen a run. False: start afresh, and replace ``checkpoint``.
    state : {name: object}, optional
        Every random stream that ``batches``, ``step`` and ``callbacks`` draw from (``torch.Generator``,
        ``numpy.random.Generator``, :class:`~wbm_ext.training.Streams`; ``torch.default_generator`` for dropout), and
        whatever else changes meanwhile and has ``state_dict`` and ``load_state_dict`` (a scheduler).
    configuration : {name: plain value}, optional
        What else must be equal for a run to go on (hyper-parameters of ``step``, a fingerprint of the data). Shapes
        of the model, optimisers, ``patience`` and ``min_epochs`` are compared anyway.
    log : path, optional
        File of JSON lines, one an epoch: its record, and ``seconds``. Replaced by a run that starts afresh.
    deterministic : bool
        Use deterministic algorithms only, see :func:`wbm_ext.training.deterministic`, and all of torch's threads.
        Otherwise the steps of a model on the CPU compute on one thread, unless the first ones take 2 ms or more and
        are measured to be faster on all of torch's threads (:mod:`wbm_ext.training.step_threads`). The number of
        threads is put back after each epoch's steps.
    data_parallel : bool
        ``step`` is written for several processes, see :mod:`wbm_ext.training.distributed`: gradients and terms are
        summed over the ranks. Without it each rank trains on the whole batches, with the same result. Either way
        rank 0 alone writes and shows progress.

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
        If ``batches`` yields nothing in some epoch, ``step`` returns no term, or the checkpoint belongs to another
        configuration (names what differs) or is beyond ``epochs``.
    FileFormatError, FileNotFoundError
        If there is no checkpoint at the path ``resume``, or it is damaged.
    KeyboardInterrupt
        As always; with ``checkpoint`` a note tells how to go on.
    """
    check_integer("checkpoint_every", checkpoint_every)
    for name, count in (("epochs", epochs), ("patience", patience), ("min_epochs", min_epochs)):
        check_integer(name, count, least=0)
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise TypeError(f"batches must be iterable, once an epoch; got {type(batches).__name__}")
    check_callbacks(callbacks)
    updates = as_updates(model, step, optimizer, lr, weight_decay)
    data_parallel = data_parallel and distributed.is_distributed()
    if data_parallel:
        distributed.copy_from_first(model)
        for update in updates:
            update.data_parallel = True
    history = History()
    begin = time.perf_counter()
    writer = CheckpointWriter(
        model, updates, history, state or {}, callbacks,
        {"patience": patience, "min_epochs": min_epochs, "validated": validate is not None, **(configuration or {})},
        checkpoint=checkpoint, every=checkpoint_every, resume=resume, log=log,
    )  # fmt: skip
    best = writer.best
    if writer.epoch > epochs:
        raise ValueError(f"epochs={epochs} is less than the {writer.epoch} that the checkpoint has behind it")
    threads = StepThreads(measured=not deterministic and _on_cpu(model))
    first = writer.epoch + 1
    last = epochs if history.stopped == "epochs" else writer.epoch

    with (
        writer,
        deterministic_mode(deterministic),
        tqdm(
            total=epochs,
            initial=writer.epoch,
            desc=description,
            disable=not progress or not distributed.is_first(),
            unit="epoch",
            leave=False,
        ) as bar,
    ):
        for epoch in range(first, last + 1):
            model.train()
            start_epoch(callbacks, epoch)
            with threads:
                steps = [threads.run(partial(take_step, updates, batch)) for batch in batches]
            record = mean_terms(steps, epoch, data_parallel=data_parallel)

            model.eval()
            with torch.no_grad():
                if validate is not None:
                    value = float(validate())
                    record["validation"] = finite_validation(
                        distributed.from_first(value) if data_parallel else value, epoch
                    )
                asked = end_epoch(callbacks, epoch, record)
            asked = distributed.any_rank(asked) if data_parallel else asked
            history.records.append(record)
            shown = {key: f"{record[key]:.4f}" for key in ("loss", "validation") if key in record}
            bar.set_postfix(shown, refresh=False)
            bar.update()

            judged = None if validate is None else record["validation"]
            if history.take_validation(epoch, judged, patience, min_epochs) and validate is not None:
                best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if asked:
                history.stopped = "callback"
            ending = epoch == last or history.stopped != "epochs"
            writer.after_epoch(epoch, record, best, ending=ending)
            if ending:
                break

    if best is not None:
        model.load_state_dict(best)
    model.eval()
    history.seconds += time.perf_counter() - begin
    return history


def _on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())
