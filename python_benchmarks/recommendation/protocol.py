"""What is run: systems, grids, seeds, and the cells of each table and figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from python_benchmarks._study import Cell, Space
from python_benchmarks._study.command import Parameters
from python_benchmarks.recommendation.published import TABLE_3, TABLE_4
from wbm_ext.recommender import create, systems

WBM = ("ips-wbm", "dr-wbm")
MOMENTS = ("ips-v2", "dr-v2")
STUDIED = ("embedding_dim", "learning_rate", "batch_size", "weight_decay", "balance_weight")
"""Parameters that a cell always names, so that a cell of two tables is run once."""

LAMBDAS = tuple(TABLE_4["ips-wbm"])

_DECAY = (1e-5, 1e-4, 4e-4, 1e-3)
_SMALL: dict[str, Sequence[Any]] = {
    "learning_rate": (0.001, 0.005, 0.01, 0.05, 0.1),
    "batch_size": (32, 64, 128, 256),
    "embedding_dim": (2, 4, 8, 16, 32, 64),
    "weight_decay": _DECAY,
}
_LARGE: dict[str, Sequence[Any]] = {
    **_SMALL,
    "batch_size": (1024, 2048, 4096),
    "embedding_dim": (16, 32, 64, 128, 256, 512),
}
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "coat": _SMALL,
    "synthetic": _SMALL,
    "yahoo-r3": _LARGE,
    "kuairec": _LARGE,
}
"""The paper's grids; weight decay is not among them and is added, as is gamma_b of moment balancing."""

SWEEPS: dict[str, tuple[Any, ...]] = {
    "learning_rate": (0.001, 0.003, 0.01, 0.03, 0.1),
    "batch_size": (64, 128, 256, 512, 1024, 2048, 4096),
    "embedding_dim": (4, 8, 16, 32, 64, 128, 256),
}
FIGURES = {"4": "coat", "5": "yahoo-r3"}

_SCRIPTS = {"coat": "coat", "yahoo-r3": "yahoo", "kuairec": "kuairec"}


class Source(NamedTuple):
    """A data set by name, and the options of its reader or generator."""

    name: str
    params: Mapping[str, Any] = MappingProxyType({})


def table_systems() -> list[str]:
    """Those of Table 3 in its order, then the others that the package has."""
    return [*TABLE_3, *(name for name in systems() if name not in TABLE_3)]


def settle(system: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``params`` with every studied parameter of the system named, the defaults where nothing is given."""
    defaults = create(system).get_params()
    return {name: defaults[name] for name in STUDIED if name in defaults} | dict(params or {})


def space(system: str, source: Source, **held: Any) -> Space:
    """What is searched for a system; the defaults are tried first, then the public script's place in the grid."""
    from wbm_ext.recommender import published

    grid = dict(GRIDS[source.name])
    if system in MOMENTS:
        grid["balance_weight"] = (0.001, 0.01, 0.1, 1.0)
    grid = {name: values for name, values in grid.items() if name not in held}
    params = settle(system, held)
    script = published(system, _SCRIPTS[source.name]) if source.name in _SCRIPTS else {}
    starts = [{name: _nearest(params[name], values) for name, values in grid.items()}]
    if script:
        starts.append({name: _nearest(script.get(name, params[name]), values) for name, values in grid.items()})
    first = [start for place, start in enumerate(starts) if start not in starts[:place]]
    return Space(Cell(system, source.name, 0, params, dict(source.params)), grid, first)


def _nearest(value: float, values: Sequence[Any]) -> Any:
    return min(values, key=lambda other: abs(other - value))


def table_3_cells(names: Iterable[str], source: Source, parameters: Parameters, seeds: int) -> list[Cell]:
    """Every system, and the WBM systems at λ_b = 0 beside them; seeds outermost."""
    base = [_cell(name, source, parameters) for name in names]
    base += [cell.using(balance_weight=0.0) for cell in base if cell.system in WBM]
    return [cell.at(seed) for seed in range(seeds) for cell in base]


def table_4_cells(names: Iterable[str], source: Source, parameters: Parameters, seeds: int) -> list[Cell]:
    """The WBM systems at every λ_b."""
    base = [
        _cell(name, source, parameters).using(balance_weight=weight)
        for name in names
        if name in WBM
        for weight in LAMBDAS
    ]
    return [cell.at(seed) for seed in range(seeds) for cell in base]


def figure_cells(names: Iterable[str], source: Source, parameters: Parameters, seeds: int) -> list[Cell]:
    """The WBM systems with one parameter varied at a time."""
    base = [
        _cell(name, source, parameters).using(**{parameter: value})
        for name in names
        if name in WBM
        for parameter, values in SWEEPS.items()
        for value in values
    ]
    return [cell.at(seed) for seed in range(seeds) for cell in base]


def _cell(system: str, source: Source, parameters: Parameters) -> Cell:
    params = settle(system, parameters.get((system, source.name)))
    return Cell(system, source.name, 0, params, dict(source.params))
