"""Units of a treatment-effect table: covariates as a DataFrame, treatments and outcomes as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wbm_ext.cli.columns import names, split
from wbm_ext.datasets.text import Table
from wbm_ext.errors import DatasetError


class Units(NamedTuple):
    """What a system is fitted to: covariates (DataFrame), outcomes (n,), treatments of 0 and 1 (n,)."""

    x: Any
    y: NDArray[np.float64]
    treatment: NDArray[np.int64]


def training_units(table: Table, given: Mapping[str, Any]) -> Units:
    """Return the units of a table, by the columns that the command line names.

    Raises
    ------
    UnknownNameError, DatasetError, ValueError
        A column that is not there; a cell that cannot be; a column of covariates that has a role; none left.
    """
    roles = names(("treatment", "outcome"), given)
    treatment = table.treatments(roles["treatment"], given.get("treated"))
    y = table.numbers(roles["outcome"])
    taken = {**roles, **({"id": given["id"]} if given.get("id") else {})}
    return Units(_covariates(table, taken, given), y, treatment)


def _covariates(table: Table, roles: Mapping[str, str], given: Mapping[str, Any]) -> Any:
    """Return the covariates: the columns chosen, or all but those with a role and those left out."""
    left_out, labels, picked = (split(given.get(name)) for name in ("leave_out", "categorical", "covariates"))
    table.check(*roles.values(), *left_out, *labels, *picked)
    out = set(left_out) | set(roles.values())
    for name in picked:
        if name in out:
            raise ValueError(f"--covariates must not hold {name!r}, which has another role or is left out")
    for name in labels:
        if name in out or (picked and name not in picked):
            raise ValueError(f"--categorical must hold covariates; got {name!r}, which is none")
    picked = picked or [name for name in table.columns if name not in out]
    if not picked:
        raise ValueError(f"{table.path} must hold at least one covariate beside {', '.join(sorted(out))}; got none")
    frame = table.covariates(picked, labels)
    if "missing" not in given.get("parameters", {}):
        _refuse_missing(table, frame)
    return frame


def _refuse_missing(table: Table, frame: Any) -> None:
    gaps = frame.isna().to_numpy()
    if gaps.any():
        column, row = (int(place) for place in np.argwhere(gaps.T)[0])
        raise DatasetError(
            f"{table.path}: {int(gaps.sum())} values are missing, the first in {table.place(row)}, column "
            f"{frame.columns[column]!r}; -p missing=impute or -p missing=indicator takes them"
        )


def seen_by(model: Any, table: Table) -> Any:
    """Return the covariates that a fitted model was trained on, in its order, each read as it was then."""
    columns = [str(name) for name in model.feature_names_in_]
    labels = {columns[place] for place in model.covariates_.label_columns}
    table.check(*columns)
    return table.covariates(columns, labels)
