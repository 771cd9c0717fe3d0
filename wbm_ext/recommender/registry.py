"""Systems by name."""

from __future__ import annotations

import inspect
from typing import Any

from wbm_ext.errors import check_name
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.ips import IPS
from wbm_ext.recommender.ips_wbm import IPSWBM
from wbm_ext.recommender.naive import Naive

_SYSTEMS: dict[str, type[Recommender]] = {system.name: system for system in (Naive, IPS, IPSWBM)}


def systems() -> list[str]:
    """Return the names that :func:`create` knows."""
    return list(_SYSTEMS)


def create(name: str, **params: Any) -> Recommender:
    """Return a new, unfitted system.

    Parameters
    ----------
    name : str
        One of :func:`systems`.
    **params
        Parameters of that system's class.

    Raises
    ------
    UnknownNameError
        If the system, or one of the parameters, does not exist; the message holds the nearest valid name.
    """
    system = _SYSTEMS[check_name("name", name, _SYSTEMS)]
    valid = list(inspect.signature(system).parameters)
    for param in params:
        check_name(f"parameter of {name}", param, valid)
    return system(**params)
