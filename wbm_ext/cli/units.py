"""Units of a treatment-effect table: covariates as a DataFrame, treatment and outcome as columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wbm_ext.cli.columns import split
from wbm_ext.cli.frames import take


def covariates(frame: Any, path: Path, roles: dict[str, str], chosen: str | None, left_out: str | None) -> Any:
    """Return the covariates: the columns chosen, or all but those with a role and those left out.

    Raises
    ------
    UnknownNameError, ValueError
        A column that is not there; a column of covariates that has a role; none left.
    """
    out = set(take(frame, split(left_out), path)) | set(roles.values())
    picked = split(chosen)
    if picked:
        take(frame, picked, path)
        for name in picked:
            if name in out:
                raise ValueError(f"--covariates must not hold {name!r}, which has another role or is left out")
    else:
        picked = [name for name in frame.columns if name not in out]
    if not picked:
        raise ValueError(f"{path} must hold at least one covariate beside {', '.join(sorted(out))}; got none")
    return frame[picked]


def seen_by(model: Any, frame: Any, path: Path) -> Any:
    """Return the covariates that a fitted model was trained on, in its order."""
    return frame[take(frame, map(str, model.feature_names_in_), path)]
