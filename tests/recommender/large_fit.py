"""Fits a system to generated ratings of a given shape; prints the peak memory in MiB and the processor seconds of the fit.

Run by test_scale.py: large_fit.py USERS ITEMS RATINGS SYSTEM BATCH.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from wbm_ext.datasets import Ratings
from wbm_ext.recommender import create

n_users, n_items, count = (int(argument) for argument in sys.argv[1:4])
rng = np.random.default_rng(0)
# evenly spaced keys with a random offset each: distinct without a table of all pairs
gap = n_users * n_items // count
keys = np.arange(count, dtype=np.int64) * gap + rng.integers(0, gap, count)
data = Ratings(keys // n_items, keys % n_items, rng.integers(1, 6, count), n_users, n_items)
model = create(sys.argv[4], batch_size=int(sys.argv[5]), epochs=1, random_state=0)
start = time.process_time()
model.fit(data)
seconds = time.process_time() - start
model.predict(np.zeros(1_000_000, dtype=np.int64), rng.integers(0, n_items, 1_000_000))
model.recommend(0, k=10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, seconds)
