"""Yahoo! R3 ("Music"): 15,400 users, 1,000 songs, ratings of chosen songs and of random ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from wbm_ext.datasets import files
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.duplicates import merge
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.errors import DatasetError, MissingFileError

LICENCE = "Yahoo! Webscope agreement; the user signs and downloads it himself, no redistribution"
SOURCE = (
    'Yahoo! Webscope R3, "Yahoo! Music ratings for User Selected and Randomly Selected songs", v1.0; '
    "https://webscope.sandbox.yahoo.com/"
)

N_USERS, N_ITEMS = 15_400, 1_000
TRAIN, TEST = "ydata-ymusic-rating-study-v1_0-train.txt", "ydata-ymusic-rating-study-v1_0-test.txt"
ROWS = {TRAIN: 311_704, TEST: 54_000}
"""Ratings in each file."""


def load_yahoo_r3(root: str | os.PathLike[str] | None = None, *, verify: bool = True) -> RatingsDataset:
    r"""Read Yahoo! R3 from its original files.

    Each line is ``user<TAB>item<TAB>rating`` with ids from 1, which become ids from 0, and a rating 1..5. The test
    file holds ten random songs of each of the first 5,400 users. No hash is registered, for no copy of the files may
    be passed on; ``verify`` compares the number of ratings.

    Parameters
    ----------
    root : path, optional
        Folder with both files, each also as ``.gz`` and with line ends ``\n`` or ``\r\n``. Left out:
        ``$WBM_DATA/yahoo-r3``.
    verify : bool
        Expect 311,704 and 54,000 ratings.

    Returns
    -------
    RatingsDataset
        15,400 users x 1,000 items, positive from 3 upwards.

    Raises
    ------
    MissingFileError
        No folder, or one without one of the two files.
    DatasetError
        Another number of ratings (``verify=True`` only), a pair that occurs twice, a line or value that cannot be;
        the message names file and line.

    References
    ----------
    Marlin, Zemel, "Collaborative prediction and ranking with non-random missing data", RecSys 2009.
    """
    folder = files.data_root(root, "yahoo-r3")
    missing = [filename for filename in (TRAIN, TEST) if files.find(folder, filename) is None]
    if missing:
        raise MissingFileError(f"{folder} lacks {' and '.join(missing)} (each also as .gz); origin: {SOURCE}")
    train, test = (_read(folder, filename, verify) for filename in (TRAIN, TEST))
    return RatingsDataset(name="yahoo-r3", train=train, test=test, threshold=3.0, licence=LICENCE, source=SOURCE)


def _read(folder: Path, filename: str, verify: bool) -> Ratings:
    from wbm_ext.datasets.streams import read_columns

    path = files.find(folder, filename)
    assert path is not None
    wanted = {"user": np.int32, "item": np.int32, "rating": np.float32}
    table, _ = read_columns(path, tuple(wanted), wanted, separator="\t")
    users, items, ratings = table["user"], table["item"], table["rating"]
    for name, values, high in (("user", users, N_USERS), ("item", items, N_ITEMS), ("rating", ratings, 5)):
        bad = (values < 1) | (values > high) | (values != np.rint(values))
        if bad.any():
            place = int(np.argmax(bad))
            raise DatasetError(
                f"{path}: {name} must be an integer in 1..{high}; got {values[place]:g} in row {place + 1}"
            )
    if verify and len(users) != ROWS[filename]:
        raise DatasetError(
            f"{path} must hold {ROWS[filename]} ratings; got {len(users)}; "
            "fetch the file again from its source, or pass verify=False if the change is meant"
        )
    users, items, ratings = merge(users - 1, items - 1, ratings, N_ITEMS, "error", path)
    return Ratings(users, items, ratings, N_USERS, N_ITEMS, scale=(1, 5))
