"""Which columns of a table are meant: what the user said, else what the fit of the model said, else the default."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wbm_ext.cli.runfile import read_run
from wbm_ext.errors import check_name

RECOMMENDER = ("user", "item", "rating", "observed")
EFFECT = ("treatment", "treated", "outcome", "covariates", "categorical", "leave_out", "id")


def room_of(system: str, *, only: str | None = None) -> str:
    """Return "recommender" or "ite", the room in which ``system`` is made.

    Parameters
    ----------
    only : {"recommender", "ite"}, optional
        The room whose systems the command takes.

    Raises
    ------
    UnknownNameError, ValueError
        The system does not exist (the message holds the nearest of those that the command takes), or is of the other
        room.
    """
    from wbm_ext import ite, recommender

    rooms = {"recommender": recommender.systems(), "ite": ite.systems()}
    for room, systems in rooms.items():
        if system in systems and only not in (None, room):
            kind = "a recommender: it estimates no effects" if room == "recommender" else "one of treatment effects"
            raise ValueError(f"system {system!r} is {kind}; this command takes {', '.join(rooms[str(only)])}")
    check_name("system", system, rooms[only] if only else [*rooms["recommender"], *rooms["ite"]])
    return next(room for room, systems in rooms.items() if system in systems)


def refuse_foreign(system: str, room: str, given: Mapping[str, Any]) -> None:
    """Raise if column options of the other kind of system were given."""
    foreign, own = (EFFECT, RECOMMENDER) if room == "recommender" else (RECOMMENDER, EFFECT)
    for name in foreign:
        if given.get(name) is not None:
            options = ", ".join(_option(other) for other in own)
            raise ValueError(f"{_option(name)} does not go with system {system!r}; its columns are named by {options}")


def fit_options(model: Path | None) -> dict[str, Any]:
    """Return the options of the fit of a model file, as the run file beside it has them; {} if there is none."""
    if model is None or not model.with_suffix(".toml").is_file():
        return {}
    content = read_run(model.with_suffix(".toml"))
    return content if content.get("command") == "fit" else {}


def names(roles: Sequence[str], given: Mapping[str, Any], fitted: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the column of each role: what was given, else what the fit had, else the role's own name."""
    return {role: str(given.get(role) or (fitted or {}).get(role) or role) for role in roles}


def split(text: str | None) -> list[str]:
    """Return the names of a list joined by commas; one that holds a comma stands in quotation marks, as in a table."""
    return [name.strip() for name in next(csv.reader([text or ""], skipinitialspace=True), []) if name.strip()]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
