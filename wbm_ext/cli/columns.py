"""Which columns of a table are meant: what the user said, else what the fit of the model said, else the default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbm_ext.cli.runfile import read_run
from wbm_ext.errors import check_name

RECOMMENDER = ("user", "item", "rating", "observed")
EFFECT = ("treatment", "outcome", "covariates", "leave_out")


def room_of(system: str) -> str:
    """Return "recommender" or "ite", the room in which ``system`` is made.

    Raises
    ------
    UnknownNameError
        The system does not exist; the message holds the nearest one.
    """
    from wbm_ext import ite, recommender

    names = [*recommender.systems(), *ite.systems()]
    return "recommender" if check_name("system", system, names) in recommender.systems() else "ite"


def refuse_foreign(system: str, room: str, given: Mapping[str, Any]) -> None:
    """Raise if column options of the other kind of system were given."""
    foreign, own = (EFFECT, RECOMMENDER) if room == "recommender" else (RECOMMENDER, EFFECT)
    for name in foreign:
        if given.get(name) is not None:
            options = ", ".join(_option(other) for other in own)
            raise ValueError(f"{_option(name)} does not go with system {system!r}; its columns are named by {options}")


def names(roles: tuple[str, ...], given: Mapping[str, str | None], model: Path | None = None) -> dict[str, str]:
    """Return the column of each role; ``model`` names the model file beside which the run file of its fit may stand."""
    fitted: dict[str, Any] = {}
    if model is not None and model.with_suffix(".toml").is_file():
        content = read_run(model.with_suffix(".toml"))
        fitted = content if content.get("command") == "fit" else {}
    return {role: given.get(role) or str(fitted.get(role) or role) for role in roles}


def split(text: str | None) -> list[str]:
    """Return the names of a list joined by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
