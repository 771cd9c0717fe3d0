"""Fits a recommender to generated ratings of a given shape, for one pass, and prints what that cost as JSON.

    python -m python_benchmarks._large_fit USERS ITEMS RATINGS SYSTEM BATCH

``memory`` is the peak resident set of the process in MiB, a million predictions included; ``seconds`` and
``processor_seconds`` are those of the fit alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np

from wbm_ext.datasets import Ratings
from wbm_ext.recommender import create


def main(n_users: int, n_items: int, count: int, system: str, batch_size: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    # evenly spaced keys with a random offset each: distinct without a table of all pairs
    gap = n_users * n_items // count
    keys = np.arange(count, dtype=np.int64) * gap + rng.integers(0, gap, count)
    data = Ratings(keys // n_items, keys % n_items, rng.integers(1, 6, count), n_users, n_items)
    model = create(system, batch_size=batch_size, epochs=1, random_state=0)
    wall, processor = time.perf_counter(), time.process_time()
    model.fit(data)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    model.predict(np.zeros(1_000_000, dtype=np.int64), rng.integers(0, n_items, 1_000_000))
    model.recommend(0, k=10)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"memory": memory, "seconds": wall, "processor_seconds": processor}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:4]), sys.argv[4], int(sys.argv[5]))))
