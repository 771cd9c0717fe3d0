"""Steps compute on one thread unless several are measured to be faster; torch gets its own number back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from wbm_ext.training import train
from wbm_ext.training.step_threads import SHORT_STEP, StepThreads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def counts_of(seconds: dict[int, float], steps: int = 40) -> list[int]:
    """The threads that each of ``steps`` steps sees, when a step takes ``seconds`` on that many."""
    now, seen = [0.0], []

    def step() -> None:
        seen.append(torch.get_num_threads())
        now[0] += seconds[seen[-1]]

    with StepThreads(clock=lambda: now[0]) as threads:
        for _ in range(steps):
            threads.run(step)
    assert torch.get_num_threads() == 2
    return seen


def test_short_steps_stay_on_one_thread_whatever_two_would_take():
    assert set(counts_of({1: 0.5 * SHORT_STEP, 2: 0.1 * SHORT_STEP})) == {1}


def test_long_steps_take_what_is_faster():
    faster, slower = (counts_of({1: 4 * SHORT_STEP, 2: x * SHORT_STEP}) for x in (2, 5))
    assert faster[:9] == [1] * 9
    assert faster[9:] == [2] * 31
    assert slower == [1] * 9 + [2] * 9 + [1] * 22


def test_one_thread_is_left_alone():
    torch.set_num_threads(1)
    with StepThreads() as threads:
        assert threads.run(torch.get_num_threads) == 1
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("deterministic", [False, True])
def test_training_puts_the_number_of_threads_back(deterministic):
    """Also when a step fails; a deterministic run keeps torch's own."""
    model, seen = nn.Linear(3, 1), []

    def step(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(torch.get_num_threads())
        if len(seen) == 30:
            raise RuntimeError("the last")
        return {"square": model(batch).square().mean()}

    with pytest.raises(RuntimeError, match="the last"):
        train(model, step, [torch.ones(2, 3)] * 10, epochs=5, deterministic=deterministic)
    assert torch.get_num_threads() == 2
    assert set(seen) == ({2} if deterministic else {1})


def test_a_fit_gives_the_same_bits_on_any_number_of_threads():
    def parameters(count: int) -> list[torch.Tensor]:
        torch.set_num_threads(count)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(3000, 32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))
        rng = torch.Generator().manual_seed(1)
        batches = [torch.randint(3000, (512,), generator=rng) for _ in range(10)]
        train(model, lambda index: {"square": (model(index) - 1).square().mean()}, batches, epochs=3)
        return [parameter.detach() for parameter in model.parameters()]

    assert all(map(torch.equal, parameters(1), parameters(2)))
