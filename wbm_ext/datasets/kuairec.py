"""KuaiRec: watch ratios of 7,176 users and 10,728 videos, and a block of them observed almost in full."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets import files
from wbm_ext.datasets._arrays import check_count
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.duplicates import RULES, merge
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.errors import ChecksumError, DatasetError, MissingFileError, check_name

LICENCE = "CC BY-SA 4.0"
SOURCE = (
    'Gao et al., "KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM 2022; '
    "https://github.com/chongminggao/KuaiRec, files https://zenodo.org/records/18164998"
)

N_USERS, N_ITEMS = 7_176, 10_728
BIG, SMALL, EXTRACT = "big_matrix.csv", "small_matrix.csv", "random.txt"
FIELDS = (
    "user_id",
    "video_id",
    "play_duration",
    "video_duration",
    "time",
    "date",
    "timestamp",
    "watch_ratio",
)
ROWS = {BIG: 12_530_806, SMALL: 4_676_570, EXTRACT: 117_113}
"""Rows of each file."""
SHA256 = {EXTRACT: "1ee0ae5fb3b8c240cfb036dc761f5206b78b3d391b76d775bd8d59326614203a"}
r"""SHA-256, unpacked, with line ends ``\n``, of the files of which one is known."""

TESTS = ("full", "sampled", "extract")


def load_kuairec(
    root: str | os.PathLike[str] | None = None,
    *,
    test: str = "sampled",
    per_user: int = 83,
    random_state: int | np.random.Generator | None = 0,
    duplicates: str = "mean",
    verify: bool = True,
) -> RatingsDataset:
    r"""Read KuaiRec from its original files and build a biased and an unbiased part.

    ``train`` are the pairs of the big matrix outside the small block, i.e. without those of which both user
    and video occur in the small matrix, where nearly every pair was shown. ``test`` is taken from that block. Ids are
    those of the big matrix. A rating is the watch ratio: time watched over length of the video, 2 is twice.

    Parameters
    ----------
    root : path, optional
        Folder with ``big_matrix.csv`` and ``small_matrix.csv`` (``random.txt`` for the extract), each also as
        ``.gz`` and with line ends ``\n`` or ``\r\n``. Left out: ``$WBM_DATA/kuairec``.
    test : {"sampled", "full", "extract"}
        ``"sampled"``: ``per_user`` random videos of each user of the small matrix. ``"full"``: all of it.
        ``"extract"``: the 117,113 ratings (83 videos a user) that the literature on debiasing uses.
    per_user : int
        Videos a user with ``"sampled"``; a user with fewer keeps all.
    random_state : int, Generator or None
        Seed of that sample.
    duplicates : {"mean", "max", "first", "last", "error"}
        Rating of a pair of the big or small matrix that occurs more than once, as pairs watched again do.
    verify : bool
        Compare the numbers of rows, and the SHA-256 of the extract; none is registered for the matrices.

    Returns
    -------
    RatingsDataset
        7,176 users x 10,728 items, positive from watch ratio 1 upwards.

    Raises
    ------
    MissingFileError
        No folder, or one without a file that is needed.
    ChecksumError
        An extract other than the registered one (``verify=True`` only).
    DatasetError
        Another number of rows (``verify=True`` only), a header without a column, a line or value that cannot be;
        the message names file and line.
    UnknownNameError, TypeError, ValueError
        An option that does not exist or is out of range.

    References
    ----------
    Gao, Li, Lei, Chen, Li, He, Chua, "KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender
    Systems", CIKM 2022.
    """
    check_name("test", test, TESTS)
    check_name("duplicates", duplicates, RULES)
    per_user = check_count("per_user", per_user)
    folder = files.data_root(root, "kuairec")
    needed = (BIG, EXTRACT) if test == "extract" else (BIG, SMALL)
    lacking = [filename for filename in needed if files.find(folder, filename) is None]
    if lacking:
        raise MissingFileError(f"{folder} lacks {' and '.join(lacking)} (each also as .gz); origin: {SOURCE}")
    unbiased = _read(folder, needed[1], duplicates, verify)
    train = _outside(_read(folder, BIG, duplicates, verify), unbiased)
    if test == "sampled":
        unbiased = _sample(unbiased, per_user, random_state)
    return RatingsDataset(name="kuairec", train=train, test=unbiased, threshold=1.0, licence=LICENCE, source=SOURCE)


def load_kuairec_extract(root: str | os.PathLike[str] | None = None, *, verify: bool = True) -> Ratings:
    """Read the unbiased extract ``random.txt`` alone: 117,113 ratings, ids of the big matrix.

    Each line is ``user_id,video_id,watch_ratio``, without a header. Arguments and errors are those of
    :func:`load_kuairec`.
    """
    folder = files.data_root(root, "kuairec")
    if files.find(folder, EXTRACT) is None:
        raise MissingFileError(f"{folder} lacks {EXTRACT} (also as .gz); origin: {SOURCE}")
    return _read(folder, EXTRACT, "error", verify)


def _read(folder: Path, filename: str, duplicates: str, verify: bool) -> Ratings:
    from wbm_ext.datasets.streams import read_columns

    path = files.find(folder, filename)
    assert path is not None
    wanted = {"user_id": np.int32, "video_id": np.int32, "watch_ratio": np.float32}
    header = filename != EXTRACT
    table, digest = read_columns(path, FIELDS if header else tuple(wanted), wanted, header=header)
    users, items, ratings = (table.pop(name) for name in wanted)
    if verify:
        if digest != SHA256.get(filename, digest):
            raise ChecksumError(
                f"{path} is not the registered file: expected SHA-256 {SHA256[filename]}, got {digest}; "
                "fetch the file again from its source, or pass verify=False if the change is meant"
            )
        if len(users) != ROWS[filename]:
            raise DatasetError(
                f"{path} must hold {ROWS[filename]} rows; got {len(users)}; "
                "fetch the file again from its source, or pass verify=False if the change is meant"
            )
    for name, values, count in (("user_id", users, N_USERS), ("video_id", items, N_ITEMS)):
        bad = values >= count
        if bad.any():
            place = int(np.argmax(bad))
            raise DatasetError(f"{path}: {name} must be in [0, {count}); got {values[place]} in row {place + 1}")
    bad = ratings < 0
    if bad.any():
        place = int(np.argmax(bad))
        raise DatasetError(f"{path}: watch_ratio must not be negative; got {ratings[place]:g} in row {place + 1}")
    users, items, ratings = merge(users, items, ratings, N_ITEMS, duplicates, path)
    return Ratings(users, items, ratings, N_USERS, N_ITEMS)


def _outside(ratings: Ratings, block: Ratings) -> Ratings:
    """Return the ratings whose user or item does not occur in ``block``."""
    users, items = _present(block.users, N_USERS), _present(block.items, N_ITEMS)
    return ratings.subset(~(users[ratings.users] & items[ratings.items]))


def _present(ids: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=bool)
    mask[ids] = True
    return mask


def _sample(ratings: Ratings, per_user: int, random_state: int | np.random.Generator | None) -> Ratings:
    """Return ``per_user`` random ratings of each user, in the order of the file."""
    draw = np.random.default_rng(random_state).random(len(ratings))
    order = np.lexsort((draw, ratings.users))
    _, starts, sizes = np.unique(ratings.users[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    return ratings.subset(np.sort(order[place < per_user]))
