"""Safe files: models that load without running code, and writes that survive a crash.

An estimator that inherits :class:`Saveable` has ``save(path)``; :func:`wbm_ext.load` gives it back. Networks inherit
:class:`Network`, other learnt types call :func:`register`; tensors, arrays and plain values need nothing.
"""

from __future__ import annotations

from wbm_ext.persistence.codec import pack, register, unpack
from wbm_ext.persistence.files import PathLike, atomic_write, check_target, read_document, write_document
from wbm_ext.persistence.network import Network
from wbm_ext.persistence.saveable import ModelFile, Saveable, read_model

__all__ = [
    "ModelFile",
    "Network",
    "PathLike",
    "Saveable",
    "atomic_write",
    "check_target",
    "pack",
    "read_document",
    "read_model",
    "register",
    "unpack",
    "write_document",
]
