"""The training loop: what it minimises, which state it keeps, when it stops, and what it refuses to hide."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wbm_ext.training import train


class Scalar(nn.Module):
    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


def sgd(model: nn.Module, lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_sum_of_terms_is_minimised_and_each_is_recorded() -> None:
    model = Scalar(0.0)
    terms = {"left": lambda: (model.value - 1) ** 2, "right": lambda: (model.value - 3) ** 2}
    history = train(
        model,
        lambda _: {name: term() for name, term in terms.items()},
        [0],
        epochs=2,
        optimizer=sgd(model, 0.25),
    )
    # gradient at 0 is -2 - 6 = -8, so one step of .25 lands on the minimum 2
    assert model.value.item() == pytest.approx(2.0)
    assert history.column("left") == pytest.approx([1.0, 1.0])
    assert history.column("right") == pytest.approx([9.0, 1.0])
    assert history.column("loss") == pytest.approx([10.0, 2.0])


def test_records_are_means_over_the_batches_of_an_epoch() -> None:
    model = Scalar()
    history = train(model, lambda b: {"term": model.value * 0 + b}, [1.0, 2.0, 6.0], epochs=1, optimizer=sgd(model))
    assert history.column("term") == pytest.approx([3.0])


def test_best_state_is_restored_as_a_copy() -> None:
    model = Scalar(0.0)
    values = iter([3.0, 1.0, 2.0, 5.0])
    # the gradient is -1: after epoch e the parameter is e
    history = train(
        model,
        lambda _: {"term": -model.value},
        [0],
        epochs=4,
        optimizer=sgd(model),
        validate=lambda: next(values),
        patience=10,
    )
    assert history.best_epoch == 2
    assert history.best_validation == 1.0
    assert model.value.item() == 2.0
    assert history.stopped == "epochs"


def test_without_validation_the_last_state_is_kept() -> None:
    model = Scalar(0.0)
    history = train(model, lambda _: {"term": -model.value}, [0], epochs=3, optimizer=sgd(model))
    assert model.value.item() == 3.0
    assert history.best_epoch == 3


@pytest.mark.parametrize(("patience", "min_epochs", "expected"), [(2, 1, 3), (4, 1, 5), (2, 6, 6)])
def test_patience_and_min_epochs(patience: int, min_epochs: int, expected: int) -> None:
    model = Scalar(0.0)
    seen: list[float] = []

    def validate() -> float:
        seen.append(1.0)
        return float(len(seen))  # worse every epoch

    history = train(
        model,
        lambda _: {"term": -model.value},
        [0],
        epochs=50,
        optimizer=sgd(model),
        validate=validate,
        patience=patience,
        min_epochs=min_epochs,
    )
    assert len(history) == expected
    assert history.stopped == "patience"
    assert model.value.item() == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(bad: float) -> None:
    model = Scalar(1.0)

    def step(batch: int) -> dict[str, torch.Tensor]:
        return {"fine": model.value * 1.0, "broken": model.value * (bad if batch == 2 else 1.0)}

    with pytest.raises(FloatingPointError, match=r"'broken'.*epoch 1, step 3 of 4"):
        train(model, step, [0, 1, 2, 3], epochs=2, optimizer=sgd(model, 0.0))


def test_a_validation_value_that_is_not_finite_raises() -> None:
    model = Scalar(1.0)
    with pytest.raises(FloatingPointError, match="validation value became nan in epoch 1"):
        train(model, lambda _: {"term": model.value}, [0], epochs=1, validate=lambda: float("nan"))


def test_batches_that_are_spent_raise() -> None:
    model = Scalar(1.0)
    with pytest.raises(ValueError, match="yielded nothing in epoch 2"):
        train(model, lambda _: {"term": model.value}, iter([0]), epochs=2)


def test_callbacks_write_into_the_record_with_the_model_in_evaluation_mode() -> None:
    model = Scalar(1.0)
    modes: list[bool] = []

    def callback(epoch: int, record: dict[str, float]) -> None:
        modes.append(model.training)
        record["square"] = float(epoch**2)

    history = train(model, lambda _: {"term": model.value}, [0], epochs=3, callbacks=[callback])
    assert history.column("square") == [1.0, 4.0, 9.0]
    assert modes == [False] * 3
    with pytest.raises(KeyError, match="no column 'cube'"):
        history.column("cube")


def test_progress_is_shown_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    model = Scalar(1.0)
    train(model, lambda _: {"term": model.value}, [0], epochs=1)
    assert capsys.readouterr().err == ""
    train(model, lambda _: {"term": model.value}, [0], epochs=1, progress=True, description="a model")
    assert "a model" in capsys.readouterr().err


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "epochs as text": ({"epochs": "3"}, TypeError, "epochs must be an integer of at least 0; got '3'"),
    "negative epochs": ({"epochs": -1}, ValueError, "epochs must be an integer of at least 0; got -1"),
    "half a patience": ({"patience": 0.5}, TypeError, "patience must be an integer"),
    "no batches": ({"batches": None}, TypeError, "batches must be iterable, once an epoch; got NoneType"),
    "no model": ({"model": None}, TypeError, r"model must be a torch\.nn\.Module; got NoneType"),
    "an optimiser's class": ({"optimizer": torch.optim.SGD}, TypeError, r"optimizer must be .*Optimizer; got 'SGD'"),
    "a bare loss": ({"step": lambda batch: batch.sum()}, TypeError, r"step must return \{name: scalar tensor\}; got Tensor"),
    "a number": ({"step": lambda batch: {"l": 3.0}}, TypeError, r"scalar tensor\}; got float for 'l'"),
    "a vector": ({"step": lambda batch: {"l": batch}}, ValueError, r"loss term 'l' must be a scalar tensor; got shape \(3,\)"),
    "callbacks": ({"callbacks": print}, TypeError, "callbacks must be a sequence of Callback or of callables"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_trained_is_refused_by_name(name: str) -> None:
    changed, error, message = WRONG[name]
    layer = nn.Linear(3, 1)
    given: dict[str, Any] = {
        "model": layer, "step": lambda batch: {"l": layer(batch).sum()}, "batches": [torch.ones(3)], "epochs": 1,
    } | changed  # fmt: skip
    with pytest.raises(error, match=message):
        train(**given)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_loss_is_the_sum_of_the_terms_however_many_and_whatever_their_shape(count: int) -> None:
    weight = nn.ParameterList([torch.full((), 1.0)])
    optimizer = torch.optim.SGD(weight, lr=0.125)

    def step(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {str(k): (k + 1) * weight[0].reshape((1,) * (k % 2)) for k in range(count)}

    history = train(weight, step, [torch.ones(1)], epochs=1, optimizer=optimizer)
    total = count * (count + 1) / 2
    assert float(weight[0]) == 1 - 0.125 * total
    assert history.column("loss") == [total]
