"""What each of two processes does in the test of a data-parallel fit: torchrun starts it, one folder as argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from wbm_ext.ite import create
from wbm_ext.training import distributed

NAMES = ["s-learner", "cfr-mmd", "escfr", "mim-drcfr"]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    treatment = (rng.uniform(size=90) < 0.3).astype(int)
    return X, X[:, 0] + 2 * treatment + 0.1 * rng.normal(size=90), treatment


def fit(name: str) -> Any:
    start = {"start_epoch": 1} if "start_epoch" in create(name).get_params() else {}
    X, y, treatment = data()
    # 15 units a batch: slices of 8 and 7; in double precision, where the order of sums does not show
    model = create(name, epochs=4, batch_size=15, random_state=0, dtype="float64", **start)
    return model.fit(X, y, treatment=treatment)


if __name__ == "__main__":
    distributed.start()
    for name in NAMES:
        effect = fit(name).effect(data()[0])
        np.save(Path(sys.argv[1]) / f"{name}-{distributed.rank()}.npy", effect)
