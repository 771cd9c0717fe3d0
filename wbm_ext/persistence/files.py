"""Files that appear whole or not at all, and that run no code when read.

A document is a zip archive as ``torch.save`` writes it, of one dictionary of tensors and plain values (numbers,
strings, None, lists, tuples, dictionaries). It is read by ``torch.load(weights_only=True)``, whose unpickler builds
nothing else; a file that asks for more, or for more memory than it holds itself, is refused.
"""

from __future__ import annotations

import os
import pickle
import secrets
import stat
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from wbm_ext._version import __version__
from wbm_ext.errors import FileFormatError

PathLike = str | os.PathLike[str]
_ZIP = b"PK\x03\x04"


def atomic_write(path: PathLike, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a new file beside ``path``, bring it to the disk, and give it the name ``path`` in one step.

    Whoever reads ``path`` meets the old content or the new one, also after a crash or a kill at any moment, and whoever
    else writes it at the same time. The new file has a name that cannot be foreseen, is made by this call alone
    (``O_EXCL``), and takes over mode and owner of the old one. A symbolic link stays, and what it names is replaced;
    what is no regular file (a pipe, a device) is written as it is.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        As :func:`check_target`.
    OSError
        Of writing, e.g. no space left; names ``path``.
    """
    target = Path(os.path.realpath(check_target(path)))
    try:
        old = os.stat(target)
    except FileNotFoundError:
        old = None
    try:
        if old is not None and not stat.S_ISREG(old.st_mode):
            with target.open("wb", buffering=0 if stat.S_ISFIFO(old.st_mode) else -1) as file:
                write(file)
            return
        _replace(target, old, write)
    except OSError as error:
        if error.errno is None or error.filename == str(path):
            raise
        raise type(error)(error.errno, os.strerror(error.errno), str(path)) from error


def _replace(target: Path, old: os.stat_result | None, write: Callable[[IO[bytes]], object]) -> None:
    partial = target.parent / f".{secrets.token_hex(12)}.partial"  # short: the target's name may be as long as can be
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(partial, flags, 0o666 if old is None else 0o600), "wb") as file:
        try:
            write(file)
            file.flush()
            if old is not None and hasattr(os, "fchmod"):
                with suppress(PermissionError):  # the owner can be given away by root alone
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
    if os.name == "posix":  # the new name itself has to reach the disk too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems cannot sync a folder
                os.fsync(folder)
        finally:
            os.close(folder)


def check_target(path: PathLike) -> Path:
    """Return ``path`` if a file of that name could be written.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        Its folder does not exist; it is a folder itself; it, or its folder, may not be written.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    folder = target.parent if path.is_symlink() else path.parent
    if target.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a folder; name a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: the folder {folder} does not exist")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{path} cannot be written: the file is read-only")
    if (not target.exists() or target.is_file()) and not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: the folder {folder} is read-only")
    return path


def write_document(path: PathLike, kind: str, version: int, content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) as a document of ``kind`` in format ``version``, atomically."""
    document = {"wbm_ext": kind, "format": version, "package": __version__, "torch": torch.__version__, **content}
    document["torch"] = str(document["torch"])  # torch's own version type is no plain string
    atomic_write(path, lambda file: torch.save(document, file))


def read_document(path: PathLike, kind: str, version: int) -> dict[str, Any]:
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
    _check_size(document, path)
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
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            # torch.save stores its parts as they are: together they are no larger than the file
            swollen = sum(part.file_size for part in parts) > size or any(part.compress_type for part in parts)
            damaged = None if swollen else archive.testzip()
    except Exception as error:
        raise FileFormatError(f"{path} is damaged or cut short: {error}; copy or save it again") from error
    if swollen:
        raise FileFormatError(f"{path} is not a wbm_ext {kind}: its parts are compressed, and may be of any size")
    if damaged is not None:
        raise FileFormatError(f"{path} is damaged: the checksum of its part {damaged!r} is wrong; copy it again")


def _check_size(document: Any, path: Path) -> None:
    """Raise if what was read would need more memory than the file has bytes: views of one storage, shared lists."""
    left = path.stat().st_size
    values, waiting = 0, [document]
    while waiting:
        value = waiting.pop()
        values += 1
        if values > left:
            raise FileFormatError(f"{path} is damaged: it repeats its values")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, torch.Tensor):
            plain = value.layout == torch.strided and value.device.type == "cpu"
            if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise FileFormatError(f"{path} is damaged: a tensor in it is larger than the values it holds")
