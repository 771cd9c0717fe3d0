"""What a run was asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from python_benchmarks.peers.subjects import Limits


@dataclass(frozen=True)
class Options:
    """Options of a run that change its records."""

    quick: bool = False
    sizes: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    seeds: int = 8
    first_seed: int = 0
    limits: Limits = field(default_factory=Limits)

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.limits.device

    def pick(self, full: tuple, quick: tuple) -> tuple:
        """The full list or the short one; sizes given on the command line narrow lists of sizes."""
        chosen = quick if self.quick else full
        if self.sizes and all(isinstance(value, int) for value in chosen):
            return self.sizes
        return chosen

    def setting(self) -> dict[str, Any]:
        return asdict(self)
