"""One training loop for every model of the package, and reproducible randomness.

Imports torch, numpy and tqdm; knows nothing of recommenders or treatment effects.
"""

from __future__ import annotations

from wbm_ext.training.history import History
from wbm_ext.training.loop import train
from wbm_ext.training.seeding import Streams, initialise_linear, initialise_normal

__all__ = ["History", "Streams", "initialise_linear", "initialise_normal", "train"]
