"""On a GPU every system follows the path it takes on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wbm_ext.datasets import RatingsDataset
from wbm_ext.recommender import create, systems


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", systems())
def test_gpu_and_cpu_agree(name: str, tiny: RatingsDataset) -> None:
    cpu, gpu = (
        create(name, device=device, dtype="float64", epochs=2, random_state=0).fit(tiny.train)
        for device in ("cpu", "cuda")
    )
    assert next(gpu.model_.parameters()).device.type == "cuda"
    users, items = tiny.test.users, tiny.test.items
    np.testing.assert_allclose(gpu.predict(users, items), cpu.predict(users, items), rtol=1e-5)
    np.testing.assert_allclose(gpu.propensity(users, items), cpu.propensity(users, items), rtol=1e-5)
