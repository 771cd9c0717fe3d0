"""Seeds trained side by side end as each ends alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wbm_ext.losses import wbm
from wbm_ext.training import Streams, train
from wbm_ext.training.stacked import Stack, train_stacked

SEEDS = range(3)
DTYPE = torch.float64


class Network(nn.Module):
    """A representation and a head, asked by its parts and not by ``forward``."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.represent = nn.utils.skip_init(nn.Linear, 3, 4, dtype=DTYPE)
        self.heads = nn.utils.skip_init(nn.Linear, 4, 2, dtype=DTYPE)
        self.register_buffer("location", torch.full((), 0.1 * seed, dtype=DTYPE))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=DTYPE) / 2)


def outcomes(network: Any, x: torch.Tensor) -> torch.Tensor:
    return network.heads(torch.nn.functional.elu(network.represent(x))) + network.location


def error(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Mean over the batch; works with and without a leading axis of seeds."""
    return (out - x[..., :2].square()).square().mean((-1, -2))


class Batches:
    """Batches of one seed, or of all at once."""

    def __init__(self, seeds: list[int], streams: list[Streams]) -> None:
        self.alone = len(seeds) == 1
        self.x = [torch.randn(20, 3, generator=torch.Generator().manual_seed(seed), dtype=DTYPE) for seed in seeds]
        self.order = [stream.torch("order") for stream in streams]

    def __iter__(self) -> Iterator[torch.Tensor]:
        orders = [torch.randperm(20, generator=generator) for generator in self.order]
        for start in range(0, 20, 8):
            parts = [x[order[start : start + 8]] for x, order in zip(self.x, orders, strict=True)]
            yield parts[0] if self.alone else torch.stack(parts)


JUDGES = torch.randn(30, 3, generator=torch.Generator().manual_seed(99), dtype=DTYPE)
OPTIONS: dict[str, Any] = {"epochs": 40, "lr": 0.05, "weight_decay": 0.01, "patience": 3, "min_epochs": 4}


def alone(seed: int, validated: bool = True, **options: Any) -> tuple[Network, Any]:
    network = Network(seed)
    history = train(
        network,
        lambda x: {"error": error(outcomes(network, x), x), "size": 0.01 * network.heads.weight.square().sum()},
        Batches([seed], [Streams(seed)]),
        validate=(lambda: float(error(outcomes(network, JUDGES), JUDGES))) if validated else None,
        **{**OPTIONS, **options},
    )
    return network, history


def together(validated: bool = True, **options: Any) -> tuple[list[Network], list[Any]]:
    networks, streams = [Network(seed) for seed in SEEDS], [Streams(seed) for seed in SEEDS]
    judges = JUDGES.expand(len(SEEDS), -1, -1)

    def step(stack: Stack, x: torch.Tensor) -> dict[str, torch.Tensor]:
        size = stack(lambda network: network.heads.weight.square().sum())
        return {"error": error(stack(outcomes, x), x), "size": 0.01 * size}

    histories = train_stacked(
        networks,
        step,
        Batches(list(SEEDS), streams),
        validate=(lambda stack: error(stack(outcomes, judges), judges).tolist()) if validated else None,
        state={f"streams {seed}": stream for seed, stream in zip(SEEDS, streams, strict=True)},
        **{**OPTIONS, **options},
    )
    return networks, histories


@pytest.mark.parametrize("validated", [True, False])
def test_each_seed_ends_as_it_would_alone(validated: bool) -> None:
    networks, histories = together(validated)
    for seed, network, history in zip(SEEDS, networks, histories, strict=True):
        expected, expected_history = alone(seed, validated)
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-10, atol=1e-12)
        assert history.stopped == expected_history.stopped
        assert history.best_epoch == expected_history.best_epoch
        for record, other in zip(history.records, expected_history.records, strict=True):
            assert record == pytest.approx(other, rel=1e-10)
    if validated:
        assert len({len(history) for history in histories}) > 1, "the seeds must stop at different epochs"


def test_a_stack_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    expected, histories = together()
    together(epochs=5, checkpoint=tmp_path / "c")
    networks, resumed = together(checkpoint=tmp_path / "c", resume=True)
    for network, other in zip(networks, expected, strict=True):
        for value, wanted in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(value, wanted)
    assert [history.records for history in resumed] == [history.records for history in histories]


def test_records_can_be_added_to_by_seed() -> None:
    def diagnose(epoch: int, records: list[dict[str, float]]) -> None:
        for seed, record in enumerate(records):
            record["figure"] = 10.0 * epoch + seed

    _, histories = together(epochs=2, diagnose=diagnose)
    assert [history.column("figure") for history in histories] == [[10.0, 20.0], [11.0, 21.0], [12.0, 22.0]]


def test_a_loss_outside_vmap_may_take_the_seeds_in_turn() -> None:
    networks = [Network(seed) for seed in SEEDS]
    stack = Stack(networks)
    x = torch.randn(3, 10, 3, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    treated = x[..., 0] > 0
    out = stack(outcomes, x)
    values = torch.stack([wbm(torch.sigmoid(out[s, :, 0]), treated[s], x[s], tol=1e-10) for s in SEEDS])
    values.sum().backward()
    gradient = dict(stack.named_parameters())["heads/weight"].grad
    for seed, network in zip(SEEDS, networks, strict=True):
        own = outcomes(network, x[seed])
        wbm(torch.sigmoid(own[:, 0]), treated[seed], x[seed], tol=1e-10).backward()
        torch.testing.assert_close(gradient[seed], network.heads.weight.grad, rtol=1e-9, atol=1e-12)


def test_unusable_stacks_and_terms_are_refused() -> None:
    with pytest.raises(ValueError, match="same names and shapes"):
        Stack([nn.Linear(2, 1), nn.Linear(3, 1)])
    with pytest.raises(ValueError, match="at least one"):
        Stack([])
    with pytest.raises(ValueError, match=r"term 'x' must have a value a seed, shape \(2,\); got \(\)"):
        train_stacked([Network(0), Network(1)], lambda stack, _: {"x": torch.zeros(())}, [0], epochs=1)
    with pytest.raises(ValueError, match="validate must return a value a seed, 2; got 1"):
        train_stacked(
            [Network(0), Network(1)],
            lambda stack, _: {"x": stack(lambda network: network.heads.weight.sum())},
            [0],
            epochs=1,
            validate=lambda stack: [1.0],
        )
