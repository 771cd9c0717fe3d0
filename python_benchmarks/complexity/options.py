"""What a run measures: the grids of the two papers, shortened by ``--quick``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from python_benchmarks._problems import DIMENSION

TAUS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


def power(value: float) -> str:
    """1e-9 in the place of 1e-09."""
    return f"{value:g}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")


@dataclass(frozen=True)
class Options:
    """Grids, repeats and limits of a run; everything here changes its records.

    Attributes
    ----------
    devices, threads
        "cpu", "cuda"; threads and cores of the CPU.
    runs, escfr_runs : int
        Draws of the data for each cell: five in WBM Fig. 6, 100 in ESCFR Table 3.
    least : float
        Seconds that one sample lasts at least (short calls are looped).
    batches, dimensions, taus
        B, k and τ of WBM Fig. 6. τ varies at B = ``tau_batch``, B at τ = ``tight``.
    escfr_batches, epsilons, kappas
        Columns of ESCFR Table 3.
    peer_sizes, peer_epsilons, peer_cap, peer_budget
        n = m, ε in units of mean(D), seconds of one call and of the repeats.
    limit_sizes : tuple of int
        n = m of the plain iterations that are held against the machine's limits.
    memory : int
        Bytes of the array whose copy gives the bandwidth of main memory.
    """

    devices: tuple[str, ...] = ("cpu",)
    threads: int = 2
    runs: int = 5
    escfr_runs: int = 100
    least: float = 0.02
    batches: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    dimensions: tuple[int, ...] = (8, 16, 32, 64)
    taus: tuple[float, ...] = TAUS
    tau_batch: int = 64
    tight: float = 1e-9
    goal_shapes: tuple[tuple[int, int], ...] = ((256, 256), (41, 471))
    goal_dimension: int = DIMENSION
    goal_taus: tuple[float, ...] = (1e-3, 1e-9)
    escfr_batches: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    epsilons: tuple[float, ...] = (0.1, 0.5, 1.0, 5.0, 10.0, 100.0)
    kappas: tuple[float, ...] = (0.1, 0.5, 1.0, 5.0, 10.0, 100.0)
    peer_sizes: tuple[int, ...] = (64, 256, 1024)
    peer_epsilons: tuple[float, ...] = (0.05, 0.01)
    peer_cap: float = 20.0
    peer_budget: float = 1.0
    limit_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    memory: int = 1 << 28

    def quick(self) -> Options:
        """A grid for under two minutes: fewer sizes, ten runs of ESCFR Table 3, one peers' problem."""
        return replace(
            self, escfr_runs=10, least=0.002, batches=(32, 128, 512), dimensions=(8, 32), taus=(1e-3, 1e-6, 1e-9),
            escfr_batches=(32, 128, 512), epsilons=(0.1, 1.0, 100.0), kappas=(0.1, 1.0, 100.0), peer_sizes=(64,),
            peer_epsilons=(0.05,), peer_cap=1.0, peer_budget=0.05, limit_sizes=(256, 1024), memory=1 << 26,
        )  # fmt: skip

    def setting(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, setting: dict[str, Any]) -> Options:
        """The options of a result, from its setting as JSON holds it."""
        return cls(**{field.name: _tuple(setting[field.name]) for field in fields(cls)})


def _tuple(value: Any) -> Any:
    return tuple(_tuple(each) for each in value) if isinstance(value, list) else value
