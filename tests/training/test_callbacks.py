"""What may watch and end a run; progress; deterministic mode."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import torch
from torch import nn

from wbm_ext.training import Callback, deterministic, train


def test_a_callback_sees_every_epoch_begin_and_end_and_may_end_the_run() -> None:
    model = nn.Linear(1, 1)
    seen: list[tuple[str, int, bool, bool]] = []

    class Watch(Callback):
        def on_epoch_start(self, epoch: int) -> None:
            seen.append(("start", epoch, model.training, torch.is_grad_enabled()))

        def on_epoch_end(self, epoch: int, record: dict[str, float]) -> bool:
            seen.append(("end", epoch, model.training, torch.is_grad_enabled()))
            return epoch == 2

    history = train(model, lambda _: {"term": model.weight.sum()}, [0], epochs=9, callbacks=[Watch()])
    assert seen == [
        (moment, epoch, moment == "start", moment == "start") for epoch in (1, 2) for moment in ("start", "end")
    ]
    assert history.stopped == "callback"
    assert len(history) == 2


@pytest.mark.parametrize(("answer", "epochs"), [(True, 1), (np.True_, 1), (False, 3), (None, 3), (1.0, 3)])
def test_only_true_ends_a_run(answer: object, epochs: int) -> None:
    model = nn.Linear(1, 1)
    history = train(
        model, lambda _: {"term": model.weight.sum()}, [0], epochs=3, callbacks=[lambda epoch, record: answer]
    )
    assert len(history) == epochs


def test_the_best_epoch_is_kept_when_a_callback_ends_the_run() -> None:
    model = nn.Linear(1, 1, bias=False)
    values = iter([2.0, 1.0, 3.0])
    weights: list[float] = []

    def watch(epoch: int, record: dict[str, float]) -> bool:
        weights.append(model.weight.item())
        return epoch == 3

    train(model, lambda _: {"t": model.weight.sum()}, [0], epochs=9, validate=lambda: next(values), callbacks=[watch])
    assert model.weight.item() == weights[1]


@pytest.mark.parametrize("name", ["epoch", "loss", "validation", "seconds"])
def test_a_term_may_not_take_a_name_of_the_record(name: str) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=f"must not be named '{name}'"):
        train(model, lambda _: {name: model.weight.sum()}, [0], epochs=1)


def test_the_bar_shows_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Linear(1, 1)
    slow = lambda _: time.sleep(0.1) or {"term": model.weight.sum()}  # noqa: E731 - the bar is drawn ten times a second
    train(model, slow, [0], epochs=3, progress=True, description="a model")
    assert re.search(r"\d/3 \[\d\d:\d\d<\d\d:\d\d, .*loss=", capsys.readouterr().err)


def test_deterministic_mode_holds_during_the_run_and_is_put_back() -> None:
    model = nn.Linear(1, 1)
    seen: list[bool] = []

    def step(_: int) -> dict[str, torch.Tensor]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return {"term": model.weight.sum() * float("nan" if len(seen) == 3 else 1.0)}

    train(model, step, [0], epochs=2, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(FloatingPointError):
        train(model, step, [0], epochs=1, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
    assert seen == [True] * 3
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
