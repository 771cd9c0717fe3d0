"""The peers that registered themselves, with their adapters imported."""

from __future__ import annotations

from python_benchmarks.peers.registry import BATCH, SINGLE, Peer


def load() -> tuple[list[Peer], list[Peer]]:
    """(peers for single problems, peers for batches), registered, whether installed or not."""
    from python_benchmarks.peers import (  # noqa: F401  (importing registers)
        with_geomloss,
        with_mdot,
        with_ott,
        with_pot,
        with_pot_batch,
        with_torch,
        with_torchmatch,
    )

    return SINGLE, BATCH


def packages() -> list[str]:
    """Distributions whose versions belong into the result."""
    single, batch = load()
    return sorted({p.package for p in single + batch} | {"jax", "jaxlib"})
