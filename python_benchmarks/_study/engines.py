"""Where cells run: processes of this machine, or a cluster, each through joblib."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import joblib

from wbm_ext.errors import check_name, require_extra

ENGINES = ("loky", "dask", "ray")


@contextlib.contextmanager
def engine(name: str, jobs: int) -> Iterator[None]:
    """Make joblib's calls within the block use an engine.

    "dask": a cluster of ``jobs`` processes here, or the one that dask's setting ``scheduler-address`` names. "ray":
    the cluster that ``RAY_ADDRESS`` names, else one here.

    Raises
    ------
    UnknownNameError
        The engine does not exist.
    MissingExtraError
        Its package is not installed.
    """
    check_name("engine", name, ENGINES)
    if name == "loky":
        with joblib.parallel_config(backend="loky", n_jobs=jobs):
            yield
    elif name == "dask":
        distributed = require_extra("distributed", "dask", "engine='dask'")
        import dask

        address = dask.config.get("scheduler-address", None)
        local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        client = distributed.Client(address, **({} if address else local))
        with client, joblib.parallel_config(backend="dask", n_jobs=jobs):
            yield
    else:
        ray = require_extra("ray", "ray", "engine='ray'")
        from ray.util.joblib import register_ray

        if not ray.is_initialized():
            ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": jobs}), include_dashboard=False)
        register_ray()
        with joblib.parallel_config(backend="ray", n_jobs=jobs):
            yield


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
