"""Files that appear whole or not at all, and that run no code when read.

A document is a zip archive as ``torch.save`` writes it, of one dictionary of tensors and plain values (numbers,
strings, None, lists, tuples, dictionaries). It is read by ``torch.load(weights_only=True)``, whose unpickler builds
nothing else; a file that asks for more is refused.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from wbm_ext._version import __version__
from wbm_ext.errors import FileFormatError

_ZIP = b"PK\x03\x04"


def atomic_write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file beside ``path``, bring it to the disk, and give it the name ``path`` in one step.

    Whoever reads ``path`` meets the old content or the new one, also after a crash or a kill at any moment.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If the folder does not exist, or is what ``path`` names.
    """
    path = check_target(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself has to reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if a file of that name could be written.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        Its folder does not exist, or it is a folder itself.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: the folder {path.parent} does not exist")
    return path


def write_document(path: str | os.PathLike[str], kind: str, version: int, content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) as a document of ``kind`` in format ``version``, atomically."""
    document = {"wbm_ext": kind, "format": version, "package": __version__, "torch": torch.__version__, **content}
    document["torch"] = str(document["torch"])  # torch's own version type is no plain string
    atomic_write(path, lambda file: torch.save(document, file))


def read_document(path: str | os.PathLike[str], kind: str, version: int) -> dict[str, Any]:
    """Return the document at ``path``, all tensors on the CPU.

    Parameters
    ----------
    kind : str
        What it must be, e.g. ``"model"``.
    version : int
        Newest format that can be read.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        It is no document of ours, damaged, of another kind, of a newer format, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    _check_archive(path, kind)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            f"{path} holds more than tensors and plain values; it was not read, since reading it could run code"
        ) from error
    except Exception as error:  # whatever a damaged or hostile file provokes in the reader
        raise FileFormatError(f"{path} cannot be read as a wbm_ext {kind}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("wbm_ext"), str):
        raise FileFormatError(f"{path} is a torch file, but not one that wbm_ext has written")
    if document["wbm_ext"] != kind:
        raise FileFormatError(f"{path} is a wbm_ext {document['wbm_ext']}; expected a {kind}")
    found = document.get("format")
    if not isinstance(found, int) or found > version:
        raise FileFormatError(
            f"{path} has format {found!r} of a {kind}, written by wbm_ext {document.get('package')}; this is wbm_ext "
            f"{__version__}, which reads formats up to {version}: upgrade wbm_ext"
        )
    return document


def _check_archive(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if not start:
        raise FileFormatError(f"{path} is empty; expected a wbm_ext {kind}")
    if start != _ZIP:
        raise FileFormatError(f"{path} is not a wbm_ext {kind}: it is no zip archive")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:
        raise FileFormatError(f"{path} is damaged or cut short: {error}; copy or save it again") from error
    if damaged is not None:
        raise FileFormatError(f"{path} is damaged: the checksum of its part {damaged!r} is wrong; copy it again")
