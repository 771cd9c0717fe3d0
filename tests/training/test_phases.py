"""Several updates a batch: who gets a gradient, in which order, with which optimiser, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wbm_ext.training import Phase, train


class Pair(nn.Module):
    def __init__(self, left: float = 0.0, right: float = 4.0) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.tensor(left, dtype=torch.float64))
        self.right = nn.Parameter(torch.tensor(right, dtype=torch.float64))


def sgd_phase(model: Pair, name: str, lr: float = 0.25, **changes: Any) -> Phase:
    own = [getattr(model, name)]
    options: dict[str, Any] = {
        "name": name,
        "step": lambda _: {f"{name} error": (model.left - model.right) ** 2},
        "parameters": own,
        "optimizer": torch.optim.SGD(own, lr=lr),
    }
    return Phase(**{**options, **changes})


def test_a_later_phase_sees_the_earlier_update_and_each_moves_its_own_parameters() -> None:
    model = Pair()
    history = train(model, [sgd_phase(model, "left"), sgd_phase(model, "right")], [0, 1], epochs=1)
    # (left, right): (0, 4) -> left halves the distance 4 -> (2, 4) -> right halves 2 -> (2, 3) -> (2.5, 3) -> (2.5, 2.75)
    assert (model.left.item(), model.right.item()) == (2.5, 2.75)
    assert history.column("left error") == [(16 + 1) / 2]
    assert history.column("right error") == [(4 + 0.25) / 2]
    assert history.column("loss") == [(16 + 4 + 1 + 0.25) / 2]


def test_alternation_equals_the_same_two_steps_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64)

    def networks() -> nn.ModuleDict:
        torch.manual_seed(3)
        return nn.ModuleDict({name: nn.Linear(3, 1).double() for name in ("prediction", "imputation")})

    def terms(model: nn.ModuleDict, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        predicted, imputed = model["prediction"](batch), model["imputation"](batch)
        return {"prediction": (predicted * imputed).mean(), "imputation": (predicted - imputed).square().mean()}

    model = networks()
    phases = [
        Phase(
            name=name,
            step=lambda batch, name=name: {name: terms(model, batch)[name]},
            parameters=model[name],
            lr=lr,
        )
        for name, lr in (("prediction", 0.05), ("imputation", 0.01))
    ]
    train(model, phases, data, epochs=2, weight_decay=0.1)

    expected = networks()
    optimizers = {
        name: torch.optim.Adam(expected[name].parameters(), lr=lr, weight_decay=0.1, fused=True)
        for name, lr in (("prediction", 0.05), ("imputation", 0.01))
    }
    for _ in range(2):
        for batch in data:
            for name, optimizer in optimizers.items():
                for parameter in expected.parameters():
                    parameter.grad = None
                terms(expected, batch)[name].backward()
                optimizer.step()
    for left, right in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_phase_without_terms_leaves_the_batch_out() -> None:
    model = Pair()
    silent = sgd_phase(model, "right", step=lambda batch: {"right error": model.right**2} if batch else {})
    history = train(model, [sgd_phase(model, "left"), silent], [0, 1], epochs=1)
    assert history.column("right error") == [16.0]
    assert model.right.item() == 2.0


def test_unusable_phases_are_refused() -> None:
    model = Pair()
    left = sgd_phase(model, "left")
    with pytest.raises(TypeError, match="callable or a sequence of Phase; got int"):
        train(model, 3, [0], epochs=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give each Phase its own"):
        train(model, [left], [0], epochs=1, optimizer=left.optimizer)
    with pytest.raises(ValueError, match="at least one Phase"):
        train(model, [], [0], epochs=1)
    with pytest.raises(ValueError, match=r"names \['left', 'left'\]"):
        train(model, [left, left], [0], epochs=1)
    again = Phase(name="again", step=left.step, parameters=[model.right])
    with pytest.raises(ValueError, match="phase 'again' returned the term 'left error', which an earlier phase has"):
        train(model, [left, again], [0], epochs=1)
    stranger = Phase(name="x", step=left.step, parameters=[nn.Parameter(torch.zeros(()))])
    with pytest.raises(ValueError, match="1 parameters that are not in model"):
        train(model, [stranger], [0], epochs=1)
    with pytest.raises(ValueError, match="no more and no less"):
        train(model, [sgd_phase(model, "left", parameters=model)], [0], epochs=1)
    with pytest.raises(ValueError, match="'x' has no parameter"):
        train(model, [Phase(name="x", step=left.step, parameters=[])], [0], epochs=1)
    with pytest.raises(ValueError, match="no loss term"):
        train(model, [sgd_phase(model, "left", step=lambda _: {})], [0], epochs=1)
