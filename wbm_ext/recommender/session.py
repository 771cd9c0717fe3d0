"""What a fit keeps on the disk while it goes, stage by stage, and what it needs to go on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from wbm_ext.datasets import Ratings
from wbm_ext.persistence import register
from wbm_ext.training import Streams

register(
    "datasets.Ratings",
    Ratings,
    lambda ratings: {part.name: getattr(ratings, part.name) for part in fields(ratings)},
    lambda parts: Ratings(**parts),
)


class Attributes:
    """Named plain attributes of an object as part of a checkpoint."""

    def __init__(self, owner: Any, names: Sequence[str]) -> None:
        self.owner, self.names = owner, names

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self.owner, name) for name in self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.names:
            setattr(self.owner, name, state[name])


@dataclass
class Session:
    """Checkpoint, log and random streams of one fit.

    A fit may have several stages (propensities, teachers, the recommender itself). Each is a training run with a
    checkpoint of its own, ``<checkpoint>.<stage>``, that of the recommender itself plainly ``<checkpoint>``. A fit that
    goes on runs through all stages again; those that are done are read from their files and take no step.
    """

    streams: Streams
    checkpoint: str | os.PathLike[str] | None = None
    every: int = 1
    resume: bool = False
    log: str | os.PathLike[str] | None = None
    configuration: dict[str, Any] = field(default_factory=dict)

    def options(self, stage: str = "", **state: Any) -> dict[str, Any]:
        """Return what :func:`wbm_ext.training.train` is given for a stage; "" is the recommender itself."""
        options: dict[str, Any] = {} if stage else {"log": self.log}
        if self.checkpoint is not None:
            path = Path(self.checkpoint)
            options |= {
                "checkpoint": path.with_name(f"{path.name}.{stage}") if stage else path,
                "checkpoint_every": self.every,
                "resume": self.resume,
                "state": {"streams": self.streams, **state},
                "configuration": {**self.configuration, "stage": stage},
            }
        return options


def fingerprint(ratings: Ratings | None) -> str | None:
    """Return the SHA-256 of the pairs and their ratings; None for none."""
    if ratings is None:
        return None
    digest = hashlib.sha256(f"{ratings.n_users} {ratings.n_items} ".encode())
    for array in (ratings.users, ratings.items, ratings.ratings):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
