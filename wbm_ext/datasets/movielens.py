"""MovieLens 100k: 943 users, 1,682 films and the 100,000 ratings that the users chose to give."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from wbm_ext.datasets import files
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.errors import DatasetError, MissingExtraError

LICENCE = (
    "GroupLens: research use with acknowledgement; neither redistribution nor commercial use without their permission"
)
SOURCE = (
    'Harper, Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015; '
    "https://grouplens.org/datasets/movielens/100k/"
)

N_USERS, N_ITEMS, N_RATINGS = 943, 1682, 100_000

PACKAGED = Path("dataset_example", "ml-100k", "ml-100k.inter")
"""Where the distribution recbole 1.2.1 holds the ratings, below its package folder."""

SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
"""SHA-256 of the lines of ratings, without a heading."""


def load_movielens_100k(path: str | os.PathLike[str] | None = None, *, verify: bool = True) -> Ratings:
    r"""Read the MovieLens 100k ratings from GroupLens' ``u.data`` or from an installed ``recbole``.

    There is no unbiased part: every rating is one that a user chose to give. User ``u`` and item ``i`` of the file
    become ``u - 1`` and ``i - 1``; the order is that of the file.

    Parameters
    ----------
    path : path, optional
        ``u.data``, or ``ml-100k.inter`` of recbole (the same lines below a heading), each also as ``.gz``. Left out:
        the file inside the installed package recbole 1.2.1, which is found and read but not imported.
    verify : bool
        Compare the content with the registered SHA-256.

    Returns
    -------
    Ratings
        100,000 ratings 1..5 of 943 users and 1,682 items.

    Raises
    ------
    MissingExtraError
        No ``path``, and recbole is not installed.
    MissingFileError
        There is no such file.
    ChecksumError
        The ratings are not the registered ones (``verify=True`` only).
    DatasetError
        Lines that are not user, item, rating, time.

    References
    ----------
    Harper, Konstan, "The MovieLens Datasets: History and Context", ACM Transactions on Interactive Intelligent
    Systems, 2015.
    """
    where = _packaged() if path is None else Path(path).expanduser()
    content = files.read(where)
    heading, _, rest = content.partition(b"\n")
    lines = rest if heading.startswith(b"user_id") else content
    if verify:
        files.verify(where, SHA256, lines)
    table = files.parse_table(lines, (N_RATINGS, 4), where)
    users, items, ratings = table[:, 0], table[:, 1], table[:, 2]
    for name, values, high in (("user", users, N_USERS), ("item", items, N_ITEMS), ("rating", ratings, 5)):
        wrong = (values != np.rint(values)) | (values < 1) | (values > high)
        if wrong.any():
            line = int(wrong.argmax())
            raise DatasetError(
                f"{where}: each {name} must be an integer 1..{high}; got {values[line]:g} in rating {line + 1}"
            )
    return Ratings(
        users.astype(np.int64) - 1, items.astype(np.int64) - 1, ratings, n_users=N_USERS, n_items=N_ITEMS, scale=(1, 5)
    )


def _packaged() -> Path:
    """The file inside the installed recbole, which is not imported: it would ask for all it depends on."""
    found = importlib.util.find_spec("recbole")
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / PACKAGED).is_file():
            return Path(folder) / PACKAGED
    raise MissingExtraError(
        "MovieLens 100k is read from the installed package recbole 1.2.1: pip install 'wbm_ext[movielens]' (or, the "
        "file alone being read, pip install --no-deps recbole==1.2.1), or pass path=<u.data>"
    )
