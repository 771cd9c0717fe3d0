"""What the statistical systems share."""

from __future__ import annotations

from wbm_ext.training import Streams


def seed_of(streams: Streams, name: str = "model") -> int:
    """Return a seed for scikit-learn and EconML, which know integers."""
    return int(streams.numpy(name).integers(2**31))
