"""``estimator.save(path)`` and what ``wbm_ext.load(path)`` needs to give it back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from wbm_ext.errors import FileFormatError
from wbm_ext.persistence.codec import pack, unpack
from wbm_ext.persistence.files import read_document, write_document

FORMAT = 1


class Saveable:
    """Mixin of estimators in scikit-learn's manner (``get_params``, learnt names that end in ``_``).

    A subclass says in which room ``create(name, **params)`` makes it (``room``) and under which ``name``. What is
    saved is ``_state()``, by default every attribute whose name ends in ``_``; a subclass with other learnt
    attributes extends ``_state`` and ``_set_state``. A class declares in ``learnt``, {name: type}, what a fit of it
    sets beside what its bases declare; a file may set these attributes and no others, and must set all but those
    whose type allows None.
    """

    room: ClassVar[str] = ""
    name: ClassVar[str] = ""
    learnt: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def _declared(cls) -> dict[str, Any]:
        """Return {name: type} of all that a fit sets."""
        return {name: kind for base in reversed(cls.__mro__) for name, kind in vars(base).get("learnt", {}).items()}

    def _state(self) -> dict[str, Any]:
        """Return {attribute: value} of what has been learnt; values that :func:`wbm_ext.persistence.pack` takes."""
        return {name: value for name, value in vars(self).items() if name.endswith("_") and not name.startswith("_")}

    def _set_state(self, state: dict[str, Any]) -> None:
        """Take the values that ``_state`` gave, tensors and networks already on the device of the estimator.

        Raises
        ------
        TypeError, KeyError
            A name that the class does not declare, a value of another type; a name that is missing.
        """
        declared = self._declared()
        for name, value in state.items():
            if name not in declared or not isinstance(value, declared[name]):
                raise TypeError(f"{name!r} of the type {type(value).__name__} is none of its learnt attributes")
        lacking = [name for name, kind in declared.items() if name not in state and not isinstance(None, kind)]
        if lacking:
            raise KeyError(lacking[0])
        for name, value in state.items():
            setattr(self, name, value)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one file, which :func:`wbm_ext.load` reads.

        The file holds the system's name, its parameters, tensors and plain values; reading it runs no code from it.
        It also holds the data that prediction needs, e.g. which pairs were observed. A ``random_state`` that is a
        generator is saved as None. The file appears whole or not at all.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        FileNotFoundError
            If the folder does not exist.
        TypeError
            If a learnt attribute cannot be saved; names it.
        """
        state = self._state()
        if not state:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' before 'save'.")
        undeclared = sorted(state.keys() - self._declared().keys())
        if undeclared:
            raise TypeError(
                f"{type(self).__name__} cannot be saved: its class does not declare {undeclared[0]!r} as learnt"
            )
        params = dict(self.get_params(deep=False))  # type: ignore[attr-defined]
        if isinstance(params.get("random_state"), torch.Generator | np.random.Generator | np.random.RandomState):
            params["random_state"] = None
        content = {
            "room": self.room,
            "system": self.name,
            "params": {name: pack(value, f"parameter {name}") for name, value in params.items()},
            "state": {name: pack(value, name) for name, value in state.items()},
        }
        write_document(path, "model", FORMAT, content)


@dataclass(frozen=True)
class ModelFile:
    """What a model file says: which estimator of which room, its parameters, its packed state."""

    room: str
    system: str
    params: dict[str, Any]
    state: dict[str, Any]
    path: str

    def fill(self, estimator: Saveable, device: torch.device | str) -> None:
        """Give ``estimator`` the saved state, on ``device``.

        Raises
        ------
        FileFormatError
            If the state is not the one of this estimator: a name is missing, or a value is of another kind.
        """
        state = _unpacked(self.state, device, self.path)
        try:
            estimator._set_state(state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise FileFormatError(
                f"{self.path} is damaged: its state is not that of the system {estimator.name!r} "
                f"({type(error).__name__}: {error})"
            ) from error


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read the model file at ``path``; see :func:`wbm_ext.persistence.read_document` for the errors."""
    document = read_document(path, "model", FORMAT)
    fields = {"room": str, "system": str, "params": dict, "state": dict}
    for name, kind in fields.items():
        if not isinstance(document.get(name), kind):
            raise FileFormatError(f"{path} is damaged: its entry {name!r} is no {kind.__name__}")
    params = _unpacked(document["params"], "cpu", str(path))
    return ModelFile(document["room"], document["system"], params, document["state"], str(path))


def _unpacked(values: dict[str, Any], device: torch.device | str, path: str) -> dict[str, Any]:
    if not all(isinstance(name, str) for name in values):
        raise FileFormatError(f"{path} is damaged: a name of a parameter or an attribute is no string")
    try:
        return {name: unpack(value, device) for name, value in values.items()}
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except RecursionError as error:
        raise FileFormatError(f"{path} is damaged: its values are nested too deeply") from error
