"""Systems by name."""

from __future__ import annotations

from typing import Any, NamedTuple

from wbm_ext.errors import check_name
from wbm_ext.parameters import make
from wbm_ext.recommender.base import Recommender
from wbm_ext.recommender.systems.asymmetric import ASIPS
from wbm_ext.recommender.systems.cvib import CVIB
from wbm_ext.recommender.systems.dr import DR
from wbm_ext.recommender.systems.entire_space import ESMM, MultiEIB, MultiIMP
from wbm_ext.recommender.systems.ips import IPS, SNIPS
from wbm_ext.recommender.systems.joint import DRJL, DRMSE, MRDRJL
from wbm_ext.recommender.systems.kernel import AKBDR, KBDR, KBIPS
from wbm_ext.recommender.systems.moments import DRV2, IPSV2
from wbm_ext.recommender.systems.multitask import ESCM2DR, ESCM2IPS, MultiDR, MultiIPS
from wbm_ext.recommender.systems.naive import Naive
from wbm_ext.recommender.systems.stable import SDR
from wbm_ext.recommender.systems.wbm import DRWBM, IPSWBM

_SYSTEMS: dict[str, type[Recommender]] = {
    system.name: system
    for system in (
        *(Naive, ESMM, MultiEIB, MultiIMP),  # without propensity weights
        *(IPS, SNIPS, MultiIPS, CVIB, ASIPS, ESCM2IPS, IPSV2, KBIPS, IPSWBM),
        *(DR, MultiDR, DRJL, MRDRJL, DRMSE, ESCM2DR, SDR, DRV2, KBDR, AKBDR, DRWBM),
    )
}


class Description(NamedTuple):
    """What a system is: its ``name``, one line of ``summary``, the ``reference`` it follows."""

    name: str
    summary: str
    reference: str


def systems() -> list[str]:
    """Return the names that :func:`create` knows."""
    return list(_SYSTEMS)


def describe(name: str) -> Description:
    """Return name, one-line summary and reference of a system.

    Raises
    ------
    UnknownNameError
        If the system does not exist; the message holds the nearest valid name.

    Examples
    --------
    >>> from wbm_ext.recommender import describe
    >>> describe("snips").reference
    'Swaminathan, Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015'
    """
    system = _SYSTEMS[check_name("name", name, _SYSTEMS)]
    summary = (system.__doc__ or "").strip().partition("\n")[0]
    return Description(name, summary, system.reference)


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
    return make(_SYSTEMS, name, params)
