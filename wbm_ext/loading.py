"""``wbm_ext.load``: a saved estimator of any room."""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch

from wbm_ext.errors import FileFormatError, UnknownNameError

ROOMS = ("recommender", "ite")  # the subpackages whose create(name, **params) makes estimators


def load(path: str | os.PathLike[str], *, map_location: str | torch.device | None = None) -> Any:
    """Return the fitted estimator that ``estimator.save(path)`` has written.

    Reading runs no code from the file: it is a zip archive of tensors and plain values, read by
    ``torch.load(weights_only=True)``; which class to make follows from the system's name and the package's own
    tables.

    Parameters
    ----------
    path : path
    map_location : str or torch.device, optional
        Where the model goes, e.g. ``"cpu"`` or ``"cuda:1"``; becomes the estimator's ``device``. Default: the device
        it was fitted on, or the CPU where that one does not exist.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        It is no model file, damaged, of a newer format, or names a system or parameter that this version lacks.
    """
    from wbm_ext.persistence import read_model

    model = read_model(path)
    if model.room not in ROOMS:
        raise FileFormatError(f"{path} holds a model of {model.room!r}; this wbm_ext has {', '.join(map(repr, ROOMS))}")
    params = dict(model.params)
    if map_location is not None:
        params["device"] = str(torch.device(map_location))
    elif not _usable(params.get("device", "cpu")):
        params["device"] = "cpu"
    try:
        estimator = importlib.import_module(f"wbm_ext.{model.room}").create(model.system, **params)
    except (UnknownNameError, TypeError) as error:
        raise FileFormatError(f"{path} was saved by another version of wbm_ext: {error}") from error
    model.fill(estimator, params.get("device", "cpu"))
    return estimator


def _usable(device: Any) -> bool:
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        return False
    return found.type == "cpu" or (found.type == "cuda" and (found.index or 0) < torch.cuda.device_count())
