"""The peers that registered themselves, with their adapters imported."""

from __future__ import annotations

from typing import NamedTuple

from python_benchmarks.peers.registry import BATCH, POINTS, SINGLE, Peer


class Peers(NamedTuple):
    """Peers by what they are given: a cost, a batch whose gradient is wanted, two point clouds."""

    single: list[Peer]
    batch: list[Peer]
    points: list[Peer]


def load() -> Peers:
    """All that are registered, whether installed or not."""
    from python_benchmarks.peers import (  # noqa: F401  (importing registers)
        with_curegot,
        with_flash_sinkhorn,
        with_geomloss,
        with_mdot,
        with_ott,
        with_pot,
        with_pot_batch,
        with_regot,
        with_torch,
        with_torchmatch,
    )

    return Peers(SINGLE, BATCH, POINTS)


def left_out(device: str = "cpu") -> list[str]:
    """One line for each package none of whose peers takes part on that device, with the reason."""
    found = [p for peers in load() for p in peers]
    here = {p.package for p in found if not p.absent(device)}
    return sorted({p.absent(device) for p in found if p.package not in here})


def packages() -> list[str]:
    """Distributions whose versions belong into the result."""
    return sorted({p.package for peers in load() for p in peers} | {"jax", "jaxlib"})
