"""Files of data sets fetched on request, and the state of the files that are there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wbm_ext.datasets import files
from wbm_ext.datasets.registry import Entry, entry_of
from wbm_ext.errors import ChecksumError, DatasetError, check_name, require_extra


@dataclass(frozen=True)
class FileState:
    """State of one file of a data set.

    Attributes
    ----------
    filename : str
    state : {"ok", "changed", "missing", "damaged", "unchecked"}
        ``"unchecked"``: it is there, and no hash of it is known.
    path : Path or None
        Where it is; None if missing.
    required : bool
    """

    filename: str
    state: str
    path: Path | None
    required: bool


def fetch(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    filenames: list[str] | tuple[str, ...] | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> Path:
    """Download the files of a data set whose hash is registered, and return their folder.

    Nothing in this package calls it: a download is the user's decision, and so is whether the licence
    (:func:`describe`) suits him. A file that is there with the right content is not fetched again; one
    with another content is left alone and refused. A download that does not match its hash is thrown away.

    Parameters
    ----------
    name : str
    root : path, optional
        Folder to fill, made if need be. Left out: ``$WBM_DATA/<name>``, else ``wbm_ext/<name>`` in the user's cache
        folder, where readers look last.
    filenames : sequence of str, optional
        Only these files, e.g. one realisation.
    mirror : str, optional
        Address of a folder that has the files under the same names, in place of the registered one.
    progress : bool
        Show a bar a file.

    Raises
    ------
    UnknownNameError
        A data set or file that does not exist.
    DatasetError
        A data set without an address or generated, a server that does not give the file.
    ChecksumError
        A file with another content than the registered one.
    MissingExtraError
        pooch is not installed.
    """
    entry = entry_of(name)
    if not entry.fetchable:
        reason = "is generated" if entry.generated else "has no public address whose files have a registered hash"
        raise DatasetError(f"data set {name!r} {reason}; source: {entry.source}")
    wanted = entry.fetchable if filenames is None else tuple(filenames)
    for filename in wanted:
        check_name("filenames", filename, entry.fetchable)
    pooch = require_extra("pooch", "data", f"downloading {name!r}")
    folder = _target(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    address = (mirror or entry.address).rstrip("/")
    for filename in wanted:
        present, sha256 = files.find(folder, filename), entry.files[filename]
        assert sha256 is not None
        if present is not None:
            files.verify(present, sha256)
            continue
        url = f"{address}/{filename}"
        pooch.get_logger().setLevel("WARNING")
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}",
                fname=filename,
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=progress, timeout=30),
            )
        except ValueError as error:
            raise ChecksumError(f"{url} is not the registered file, SHA-256 {sha256}; got {error}") from error
        except OSError as error:
            raise DatasetError(f"{url} could not be fetched; got {error}") from error
    return folder


def check(name: str, root: str | os.PathLike[str] | None = None) -> list[FileState]:
    """Compare the files of a data set with what is registered; a generated one has none.

    Parameters
    ----------
    name : str
    root : path, optional
        As for :func:`wbm_ext.datasets.load`.

    Raises
    ------
    UnknownNameError
        ``name`` does not exist.
    MissingFileError
        There is no folder.
    """
    entry = entry_of(name)
    if entry.generated:
        return []
    folder = files.data_root(root, name)
    return [_state(entry, folder, filename) for filename in entry.files]


def _state(entry: Entry, folder: Path, filename: str) -> FileState:
    path, sha256 = files.find(folder, filename), entry.files[filename]
    state = "missing" if path is None else "unchecked"
    if path is not None and sha256 is not None:
        try:
            files.verify(path, sha256)
            state = "ok"
        except ChecksumError:
            state = "changed"
        except DatasetError:
            state = "damaged"
    return FileState(filename, state, path, filename in entry.required)


def _target(root: str | os.PathLike[str] | None, name: str) -> Path:
    if root is not None:
        return Path(root).expanduser()
    parent = os.environ.get(files.DATA_VARIABLE)
    return Path(parent).expanduser() / name if parent else files.cache_root(name)
