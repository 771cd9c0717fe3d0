"""A small run with every kind of randomness and two optimisers, which the tests break off; also a program of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from wbm_ext.training import Callback, History, Phase, Streams, train


class Noisy:
    """Batches whose order comes from a torch stream and whose noise comes from a numpy one."""

    def __init__(self, streams: Streams) -> None:
        self.order, self.noise = streams.torch("order"), streams.numpy("noise")
        self.x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))

    def __iter__(self) -> Iterator[torch.Tensor]:
        for rows in torch.randperm(24, generator=self.order).split(7):
            yield self.x[rows] + torch.as_tensor(self.noise.normal(size=(len(rows), 4)), dtype=torch.float32)


class Count(Callback):
    """Counts epochs over all parts of a run; draws from a stream that is asked for late."""

    def __init__(self, streams: Streams) -> None:
        self.streams, self.epochs, self.late = streams, 0, None

    def on_epoch_end(self, epoch: int, record: dict[str, float]) -> None:
        self.epochs += 1
        if self.late is None:
            self.late = self.streams.numpy("late")
        record["count"] = float(self.epochs)
        record["drawn"] = float(self.late.random())

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]


def run(
    *, random_state: int = 0, lr: float = 0.05, fail_at: tuple[int, BaseException] | None = None, **options: Any
) -> tuple[nn.Module, History]:
    """Train; ``fail_at=(n, error)`` raises ``error`` in the n-th step of this part."""
    streams = Streams(random_state)
    dropout = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)) for name in ("f", "g")}
        )
    steps = 0

    def prediction(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        if fail_at is not None and steps == fail_at[0]:
            raise fail_at[1]
        kept = torch.rand(batch.shape, generator=dropout) < 0.8
        return {"prediction": (model["f"](batch * kept) - batch[:, :1]).square().mean()}

    def imputation(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"imputation": (model["g"](batch) - model["f"](batch)).square().mean()}

    judge = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))
    history = train(
        model,
        [
            Phase(name="prediction", step=prediction, parameters=model["f"], lr=lr),
            Phase(
                name="imputation",
                step=imputation,
                parameters=model["g"],
                optimizer=torch.optim.SGD(model["g"].parameters(), lr=0.01, momentum=0.9),
            ),
        ],
        Noisy(streams),
        **{
            "epochs": 9,
            "validate": lambda: float((model["f"](judge) - judge[:, :1]).square().mean()),
            "patience": 4,
            "callbacks": [Count(streams)],
            "state": {"streams": streams, "dropout": dropout},
            **options,
        },
    )
    return model, history


if __name__ == "__main__":  # checkpoint file, log file
    run(checkpoint=sys.argv[1], log=sys.argv[2], resume=True, epochs=200, patience=200)
