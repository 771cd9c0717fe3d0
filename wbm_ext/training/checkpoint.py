"""Checkpoints: all that a run needs to end bit for bit where it would have ended without a break."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbm_ext.errors import FileFormatError
from wbm_ext.persistence import pack, read_document, unpack, write_document
from wbm_ext.training.history import History
from wbm_ext.training.phases import Update
from wbm_ext.training.seeding import state_accessor

FORMAT = 1
_PARTS = ("configuration", "epoch", "model", "optimizers", "best", "history", "streams", "callbacks")
_SHOWN = 5  # differences of configuration that a message names

State = dict[str, torch.Tensor]


class Checkpoint:
    """The moving parts of a run, as one document: written after an epoch, put back before the next.

    Parameters
    ----------
    model : nn.Module
    updates : sequence of Update
        Their optimisers are kept.
    history : History
        Changed in place by :meth:`restore`.
    streams : {name: object}
        Random generators (``torch.Generator``, ``numpy.random.Generator``) and whatever else changes during
        training and has ``state_dict`` / ``load_state_dict`` or ``get_state`` / ``set_state``.
    callbacks : sequence
        Those with ``state_dict`` and ``load_state_dict`` are kept.
    configuration : {name: plain value}
        What must be equal when the run goes on; nested.
    """

    def __init__(
        self,
        model: nn.Module,
        updates: Sequence[Update],
        history: History,
        streams: Mapping[str, Any],
        callbacks: Sequence[Any],
        configuration: Mapping[str, Any],
    ) -> None:
        self.model, self.updates, self.history = model, updates, history
        self.streams = {name: state_accessor(name, stream) for name, stream in streams.items()}
        self.callbacks = {
            str(index): callback
            for index, callback in enumerate(callbacks)
            if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")
        }
        # taken now: a scheduler may change the groups later
        self.configuration = pack(
            {
                "model": {name: f"{tuple(value.shape)} {value.dtype}" for name, value in model.state_dict().items()},
                "optimizers": {update.name: _describe(update.optimizer) for update in updates},
                **configuration,
            },
            "configuration",
        )

    def write(self, path: str | os.PathLike[str], epoch: int, best: State | None) -> None:
        """Write the state after ``epoch`` to ``path``, atomically."""
        content = {
            "configuration": self.configuration,
            "epoch": epoch,
            "model": self.model.state_dict(),
            "optimizers": {update.name: update.optimizer.state_dict() for update in self.updates},
            "best": best,
            "history": asdict(self.history),
            "streams": {name: pack(get(), f"state {name}") for name, (get, _) in self.streams.items()},
            "callbacks": {
                index: pack(callback.state_dict(), f"callback {index}") for index, callback in self.callbacks.items()
            },
        }
        write_document(path, "checkpoint", FORMAT, content)

    def restore(self, document: Mapping[str, Any], path: str | os.PathLike[str]) -> tuple[int, State | None]:
        """Put everything back; return (epoch, best state).

        Raises
        ------
        ValueError
            If the configuration is another one; names what differs.
        FileFormatError
            If a part is not what :meth:`write` writes.
        """
        try:
            return self._restore(document, path)
        except (TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise FileFormatError(f"the checkpoint {path} is damaged: a part cannot be put back ({error!r})") from error

    def _restore(self, document: Mapping[str, Any], path: str | os.PathLike[str]) -> tuple[int, State | None]:
        self._check(document, path)
        self.model.load_state_dict(document["model"])
        for update in self.updates:
            update.optimizer.load_state_dict(document["optimizers"][update.name])
        for name, (_, put) in self.streams.items():
            put(unpack(document["streams"][name]))
        for index, callback in self.callbacks.items():
            callback.load_state_dict(unpack(document["callbacks"][index]))
        for name, value in document["history"].items():
            setattr(self.history, name, value)
        best = document["best"]
        if best is not None:
            like = self.model.state_dict()
            best = {name: value.to(like[name].device) for name, value in best.items()}
        return document["epoch"], best

    def _check(self, document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
        there, here = _flat(document["configuration"]), _flat(self.configuration)
        there |= {f"state {name}": "kept" for name in document["streams"]}
        there |= {f"callback {index}": "kept" for index in document["callbacks"]}
        here |= {f"state {name}": "kept" for name in self.streams}
        here |= {f"callback {index}": "kept" for index in self.callbacks}
        differing = [
            f"{name} ({there.get(name, 'absent')} there, {here.get(name, 'absent')} here)"
            for name in [*here, *(name for name in there if name not in here)]
            if repr(there.get(name, _flat)) != repr(here.get(name, _flat))
        ]
        if differing:
            more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            raise ValueError(
                f"the checkpoint {path} belongs to a run of another configuration; it differs in "
                f"{', '.join(differing[:_SHOWN])}{more}. Give the same configuration and data, or resume=False"
            )


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the document at ``path``; see :func:`wbm_ext.persistence.read_document` for the errors."""
    document = read_document(path, "checkpoint", FORMAT)
    lacking = [name for name in _PARTS if name not in document]
    if lacking:
        raise FileFormatError(f"the checkpoint {path} is damaged: it lacks {', '.join(lacking)}")
    return document


def resume_from(resume: bool | str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """Return the file to go on from, None to start afresh.

    Raises
    ------
    ValueError
        ``resume=True`` without ``checkpoint``.
    FileNotFoundError
        ``resume`` is a path where there is no file. (With ``resume=True`` a missing file means a first start.)
    """
    if isinstance(resume, bool):
        if not resume:
            return None
        if checkpoint is None:
            raise ValueError("resume=True needs checkpoint=path, the file to go on from; got checkpoint=None")
        return Path(checkpoint) if Path(checkpoint).is_file() else None
    if not Path(resume).is_file():
        raise FileNotFoundError(f"resume: there is no checkpoint {resume}")
    return Path(resume)


def _describe(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    groups = [
        {
            "parameters": len(group["params"]),
            **{name: value for name, value in group.items() if isinstance(value, bool | int | float | str | tuple)},
        }
        for group in optimizer.param_groups
    ]
    return {"class": type(optimizer).__name__, "groups": groups}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return {dotted name: value} of nested dictionaries and lists."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            name: leaf
            for key, inner in pairs
            for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value}
