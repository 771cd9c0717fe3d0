"""Named random streams: reproducible, apart from each other and from the global generators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wbm_ext.training import Streams, initialise_linear, initialise_normal


def draw(streams: Streams, name: str) -> list[int]:
    return torch.randint(2**40, (4,), generator=streams.torch(name)).tolist()


def test_same_state_same_streams_and_other_names_other_streams() -> None:
    assert draw(Streams(3), "init") == draw(Streams(3), "init")
    assert draw(Streams(3), "init") != draw(Streams(3), "batches")
    assert draw(Streams(3), "init") != draw(Streams(4), "init")
    left, right = Streams(3).numpy("a").random(3), Streams(3).numpy("a").random(3)
    np.testing.assert_array_equal(left, right)


def test_none_is_fresh_and_a_generator_is_advanced() -> None:
    assert draw(Streams(None), "init") != draw(Streams(None), "init")
    generator = torch.Generator().manual_seed(0)
    first, second = Streams(generator), Streams(generator)
    assert draw(first, "init") != draw(second, "init")
    again = Streams(torch.Generator().manual_seed(0))
    assert draw(first, "init") == draw(again, "init")


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (True, TypeError), (1.5, TypeError), ("1", TypeError)])
def test_unusable_states_are_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="random_state"):
        Streams(value)


def test_initialisation_has_the_stated_distribution_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    table = torch.empty(400, 50)
    initialise_normal(table, 0.1, torch.Generator().manual_seed(1))
    layer = nn.utils.skip_init(nn.Linear, 16, 1000)
    initialise_linear(layer, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    assert float(table.std()) == pytest.approx(0.1, rel=0.02)
    assert layer.weight.abs().max().item() <= 0.25
    assert layer.weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState], ids=["Generator", "RandomState"])
def test_generators_of_numpy_seed_too_and_go_on(make: Any) -> None:
    """As scikit-learn has it: the same state, the same streams; asked again, the next ones."""
    first, second = make(3), make(3)
    entropies = [Streams(one).entropy for one in (first, second, first, second)]
    assert entropies[0] == entropies[1] != entropies[2] == entropies[3]
    assert all(0 <= entropy < 2**63 for entropy in entropies)
    with pytest.raises(TypeError, match="None or a generator of torch or numpy; got float"):
        Streams(0.5)  # type: ignore[arg-type]
