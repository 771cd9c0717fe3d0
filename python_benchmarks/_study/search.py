"""Search of hyper-parameters over grids by optuna, on validation values only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from python_benchmarks._study.cells import Cell
from python_benchmarks._study.durations import Durations
from python_benchmarks._study.ledger import Ledger
from python_benchmarks._study.run import Evaluate, run_cells
from wbm_ext.errors import require_extra
from wbm_ext.parameters import check_integer

WIDTH = 4  # trials that the sampler proposes before it sees the results of any of them


@dataclass(frozen=True)
class Space:
    """What is searched for one system on one data set.

    Attributes
    ----------
    cell : Cell
        The run with the parameters that are held; its seed is not used.
    grid : mapping
        Parameter -> values, in their order.
    first : sequence of mapping
        Settings that are tried before the sampler chooses, such as the defaults; every value stands in ``grid``.

    Raises
    ------
    ValueError
        An empty grid, or a first setting outside it.
    """

    cell: Cell
    grid: Mapping[str, Sequence[Any]]
    first: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.grid or not all(self.grid.values()):
            raise ValueError(f"grid must hold at least one value for each of at least one parameter; got {self.grid}")
        for setting in self.first:
            for name, value in setting.items():
                if name not in self.grid or value not in self.grid[name]:
                    raise ValueError(f"first must stay in the grid; got {name}={value!r}")


@dataclass
class Found:
    """What a search has found.

    Attributes
    ----------
    params : dict
        Of the chosen trial (:func:`choose`); empty where none has finished.
    value : float or None
        Its validation value, mean over the search's seeds.
    trials : list of dict
        ``params``, ``value`` (None where failed or cut) and ``values`` by seed, in order.
    asked : int
        Trials that were wanted.
    """

    params: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    trials: list[dict[str, Any]] = field(default_factory=list)
    wanted: int = 0

    @property
    def finished(self) -> int:
        return sum(trial["value"] is not None for trial in self.trials)


def search(
    spaces: Mapping[str, Space],
    evaluate: Evaluate,
    ledger: Ledger,
    *,
    trials: int,
    seeds: Sequence[int],
    random_state: int = 0,
    **options: Any,
) -> dict[str, Found]:
    """Return the setting of each space that :func:`choose` takes by the validation values over ``seeds``.

    The cells have the purpose "search", so ``evaluate`` gives ``validation`` and never looks at what is reported. The
    sampler (tree-structured Parzen estimator over the places in the grid) is seeded and proposes a fixed number of
    trials at a time, whatever runs in parallel; trials are the ledger's cells. So a search that is started again has
    the same trials, finds the finished ones in the ledger, and ends where an uninterrupted one ends.

    Parameters
    ----------
    trials : int
        A space.
    seeds : sequence of int
        Of the search; others than those reported.
    **options
        Of :func:`run_cells`: ``jobs``, ``engine_name``, ``deadline``, ``progress``.

    Raises
    ------
    MissingExtraError
        Without optuna.
    KeyboardInterrupt
        Ctrl-C, with all finished cells kept.
    """
    optuna = require_extra("optuna", "study", "a search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_integer("trials", trials)
    studies = {name: _study(optuna, space, random_state) for name, space in spaces.items()}
    found = {name: Found(wanted=trials) for name in spaces}
    for start in range(0, trials, WIDTH):
        proposed = {
            name: [_propose(study, spaces[name]) for _ in range(min(WIDTH, trials - start))]
            for name, study in studies.items()
        }
        cells = [
            cell for name in spaces for _, params in proposed[name] for cell in _cells(spaces[name], params, seeds)
        ]
        text = f"search {start + 1}-{min(start + WIDTH, trials)} of {trials}"
        outcome = run_cells(cells, evaluate, ledger, description=text, **options)
        if outcome.interrupted:  # nothing may be reported with parameters of half a search
            raise KeyboardInterrupt
        for name, pairs in proposed.items():
            for trial, params in pairs:
                values = _values(ledger, _cells(spaces[name], params, seeds))
                value = statistics.fmean(values) if values else None
                found[name].trials.append({"params": params, "value": value, "values": values})
                if value is None:
                    studies[name].tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    studies[name].tell(trial, value)
        if outcome.cut:
            break
    for result in found.values():
        taken = choose(result.trials)
        if taken is not None:
            result.params, result.value = dict(taken["params"]), taken["value"]
    return found


def choose(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the earliest trial that is within one standard error of the best, None where none has finished.

    The error is that of the mean difference to the best trial, seed by seed, so that the defaults, which come first,
    are left only for a gain above the noise of validation. With one seed there is no error, and the best is taken.
    """
    finished = [trial for trial in trials if trial["value"] is not None]
    if not finished:
        return None
    best = min(finished, key=lambda trial: trial["value"])
    for trial in finished:
        behind = [a - b for a, b in zip(trial["values"], best["values"], strict=True)]
        error = statistics.stdev(behind) / math.sqrt(len(behind)) if len(behind) > 1 else 0.0
        if statistics.fmean(behind) <= error:
            return trial
    return best


def pilot(
    spaces: Mapping[str, Space], evaluate: Evaluate, ledger: Ledger, *, seeds: Sequence[int], **options: Any
) -> Durations:
    """Time the first trial of each space, where the ledger has no time of it; return the durations."""
    cells = [replace(_first(space), seed=seed) for seed in seeds for space in spaces.values()]
    for _ in range(2):  # the first cell of a process is a cold one
        untimed = Durations(ledger, cells).untimed([cell for cell in cells if cell not in ledger])
        if run_cells(untimed, evaluate, ledger, description="search timing", **options).interrupted:
            raise KeyboardInterrupt
    return Durations(ledger, cells)


def trials_within(
    spaces: Mapping[str, Space], durations: Durations, *, trials: int, seeds: float, jobs: int, seconds: float
) -> int:
    """The number of trials a space, at most ``trials``, that is expected to take ``seconds``; may be 0."""
    one = seeds * sum(durations.each(space.cell) for space in spaces.values()) / jobs
    return trials if one * trials <= seconds else max(0, int(seconds / one))


def _first(space: Space) -> Cell:
    """The cell of the first trial, where the defaults or others are tried first; else that of the held parameters."""
    return replace(space.cell.using(**(space.first[0] if space.first else {})), purpose="search")


def _study(optuna: Any, space: Space, random_state: int) -> Any:
    sampler = optuna.samplers.TPESampler(seed=random_state, constant_liar=True, n_startup_trials=2 * WIDTH)
    study = optuna.create_study(sampler=sampler, direction="minimize")
    for setting in space.first:
        study.enqueue_trial({name: list(space.grid[name]).index(value) for name, value in setting.items()})
    return study


def _propose(study: Any, space: Space) -> tuple[Any, dict[str, Any]]:
    """Places in the grid: the sampler knows its order, not its spacing."""
    trial = study.ask()
    return trial, {name: values[trial.suggest_int(name, 0, len(values) - 1)] for name, values in space.grid.items()}


def _cells(space: Space, params: Mapping[str, Any], seeds: Sequence[int]) -> list[Cell]:
    return [replace(space.cell.using(**params), seed=seed, purpose="search") for seed in seeds]


def _values(ledger: Ledger, cells: Sequence[Cell]) -> list[float]:
    """Validation values of all cells; empty where one is missing."""
    records = [ledger.get(cell) for cell in cells]
    found = [record["validation"] for record in records if record is not None]
    return found if len(found) == len(records) else []
