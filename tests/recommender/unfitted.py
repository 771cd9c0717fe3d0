"""A small batch, and systems that have networks but no training behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from wbm_ext.datasets import Ratings
from wbm_ext.recommender import create
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.training import Run, Streams

BATCH = Batch(
    users=torch.tensor([0, 1, 2, 0, 1]),
    items=torch.tensor([0, 1, 2, 3, 3]),
    observed=torch.tensor([True, True, True, False, False]),
    labels=torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64),
    weight=torch.tensor([0.1, 0.1, 0.1, 0.35, 0.35], dtype=torch.float64),
)
TREATED = torch.tensor([0, 1, 2])


def ready(name: str, **params: Any) -> Any:
    """Return a system that has a network with random, non-zero parameters and no training behind it."""
    ratings = Ratings([0, 1, 2], [0, 1, 2], [5.0, 1.0, 4.0], 3, 4)
    model = create(name, dtype="float64", embedding_dim=2, random_state=0, validation=None, epochs=1, **params)
    model._check_parameters()
    space = PairSpace(ratings, np.array([True, False, True]), dtype=torch.float64)
    model.n_users_, model.n_items_, model.density_, model.observed_ = 3, 4, space.density, ratings
    model.base_rate_, model._judges, model._run = 0.5, None, Run(0, configuration={})
    model._prepare(space, Streams(0))
    model.model_ = model._network(space, torch.Generator().manual_seed(0), base_rate=0.5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.model_.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def gradients(model: Any, term: torch.Tensor) -> dict[str, float]:
    """Return the largest absolute gradient of ``term`` in each parameter."""
    named = dict(model.model_.named_parameters())
    values = torch.autograd.grad(term, list(named.values()), allow_unused=True, retain_graph=True)
    return {name: 0.0 if v is None else v.abs().max().item() for name, v in zip(named, values, strict=True)}
