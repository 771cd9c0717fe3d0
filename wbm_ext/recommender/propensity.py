"""Stage 1 of two-stage systems: a propensity model fitted over D."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wbm_ext.recommender.chunks import in_chunks
from wbm_ext.recommender.objectives import propensity_loss
from wbm_ext.recommender.sampling import Batch, PairSpace, StratifiedBatches, stratified_batch
from wbm_ext.training import History, Run, Streams, train


def fit_propensity(
    model: nn.Module,
    space: PairSpace,
    streams: Streams,
    *,
    loss: str,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    patience: int,
    progress: bool,
    run: Run,
) -> History:
    """Train ``model`` (users, items -> logit of being observed) in place.

    Batches are stratified (``batch_size`` observed and as many unobserved pairs, weighted back to D). If the
    space has held-out pairs, they and as many unobserved pairs, drawn once, choose the epoch by the same
    loss; else all epochs are run.
    """
    batches = StratifiedBatches(
        space,
        batch_size,
        generator=streams.torch("propensity-batches"),
        untreated_generator=streams.torch("propensity-untreated"),
    )

    def step(batch: Batch) -> dict[str, torch.Tensor]:
        return {loss: propensity_loss(loss, model(batch.users, batch.items), batch)}

    validate: Callable[[], float] | None = None
    held_out = torch.nonzero(~space.trainable).flatten()
    if len(held_out):
        judges = stratified_batch(space, held_out, len(held_out), streams.torch("propensity-judges"))

        def validate() -> float:
            return float(propensity_loss(loss, in_chunks(model, judges.users, judges.items), judges))

    return train(
        model,
        step,
        batches,
        epochs=epochs,
        lr=learning_rate,
        weight_decay=weight_decay,
        validate=validate,
        patience=patience,
        progress=progress,
        description="propensity",
        **run.options("propensity"),
    )
