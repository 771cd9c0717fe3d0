"""What decides which epoch is kept: held-out observed pairs, random pairs, or nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wbm_ext.datasets import Ratings
from wbm_ext.metrics import auc
from wbm_ext.recommender.arguments import check_ids, positives
from wbm_ext.recommender.chunks import in_chunks
from wbm_ext.training import Streams


def validation_pairs(
    mode: str | None, fraction: float, data: Ratings, given: Ratings | None, streams: Streams
) -> tuple[np.ndarray | None, Ratings | None]:
    """Return (positions of ``data`` held out of training, pairs that judge the epochs); None for none.

    Parameters
    ----------
    mode : {"biased", "unbiased", None}
    fraction : float
        Share of ``data`` held out, for "biased".
    given : Ratings or None
        The pairs that judge, for "unbiased" only.

    Raises
    ------
    ValueError
        If ``given`` and ``mode`` do not fit, an id is unknown, or one side of the hold-out would be empty.
    """
    if mode == "unbiased":
        if not isinstance(given, Ratings):
            raise ValueError(
                "validation='unbiased' needs fit(..., validation_ratings=Ratings) with pairs chosen at "
                f"random; got {type(given).__name__}"
            )
        check_ids("validation_ratings.users", given.users, data.n_users)
        check_ids("validation_ratings.items", given.items, data.n_items)
        if not len(given):
            raise ValueError("validation_ratings must hold at least one rating; got none")
        return None, given
    if given is not None:
        raise ValueError(f"validation_ratings is read only with validation='unbiased'; got validation={mode!r}")
    if mode is None:
        return None, None
    count = round(fraction * len(data))
    if not 0 < count < len(data):
        raise ValueError(
            f"validation_fraction={fraction:g} of {len(data)} ratings leaves nothing on one side; "
            "use more ratings or validation=None"
        )
    held_out = np.sort(streams.numpy("hold-out").permutation(len(data))[:count])
    return held_out, data.subset(held_out)


def judgement(metric: str, model: nn.Module, judges: Ratings, threshold: float) -> Callable[[], float]:
    """Return a function of nothing that judges ``model`` (logits) on ``judges``; lower is better.

    ``metric``: "log_loss", the mean BCE; or "auc", 1 - AUC, for models that order the pairs but are no probabilities
    of a positive rating.

    Raises
    ------
    ValueError
        If the AUC is asked for and the pairs that judge are of one class.
    """
    like = next(model.parameters())
    users, items = (torch.as_tensor(ids, device=like.device) for ids in (judges.users, judges.items))
    positive = positives(judges, threshold)
    if metric == "auc":
        if positive.all() or not positive.any():
            raise ValueError(f"validation_metric='auc' needs both classes among the {len(judges)} pairs that judge")
        return lambda: 1.0 - float(auc(positive, in_chunks(model, users, items).cpu().numpy()))
    labels = torch.as_tensor(positive).to(like)
    return lambda: float(binary_cross_entropy_with_logits(in_chunks(model, users, items), labels))
