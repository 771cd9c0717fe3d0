"""Coat Shopping: 290 users, 300 coats, self-selected training ratings and a random test part."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets import files
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.ratings import Ratings
from wbm_ext.errors import DatasetError, MissingFileError

LICENCE = "no licence stated by the source; research use, cite Schnabel et al. ICML 2016"
SOURCE = (
    'Schnabel et al., "Recommendations as Treatments: Debiasing Learning and Evaluation", ICML 2016; '
    "https://www.cs.cornell.edu/~schnabts/mnar/"
)

N_USERS, N_ITEMS = 290, 300

SHAPES: dict[str, tuple[int, int]] = {
    "train.ascii": (N_USERS, N_ITEMS),
    "test.ascii": (N_USERS, N_ITEMS),
    "user_features.ascii": (N_USERS, 14),
    "item_features.ascii": (N_ITEMS, 33),
    "propensities.ascii": (N_USERS, N_ITEMS),
}
REQUIRED = ("train.ascii", "test.ascii")

SHA256: dict[str, str] = {
    "train.ascii": "f9088c6e95fa9a42e8be6a92fc77252b95b969e34ed1299c611420da68680873",
    "test.ascii": "51fa28550f5bedebc6959d0e7b5e242b173c3c8d16317c7e49b89441304504ce",
    "user_features.ascii": "593b59c63a3f983575d3a770b32158fdfa4e2e4f63aafffdee70d1600ff072f8",
    "item_features.ascii": "72b08cc0766d3e9899231aea90c815b5bb08e07dcfba569d5f182da649099f5a",
    "propensities.ascii": "a72e3142a413623c4a6b9d20c4f70fcc017e0db67cc3eb242116f69fb8fb9661",
}
"""SHA-256 of each file, unpacked, with line ends ``\\n``."""


def load_coat(root: str | os.PathLike[str] | None = None, *, verify: bool = True) -> RatingsDataset:
    r"""Read Coat Shopping from its original files.

    A rating is 1..5; 0 in the files marks a pair that was not rated. 366 of the 4,640 test pairs are also
    training pairs (:func:`wbm_ext.datasets.overlap` finds them). Features are 0/1, one group of columns a
    property (user: gender 2, age 6, location 3, fashion interest 3; item: gender 2, jacket type 16,
    colour 13, on front page 2). The propensities are those learned by the authors, not true ones.

    Parameters
    ----------
    root : path, optional
        Folder with ``train.ascii`` and ``test.ascii``; ``user_features.ascii``, ``item_features.ascii`` and
        ``propensities.ascii`` are read if present. Each may be packed as ``.gz`` and may have line ends
        ``\n`` or ``\r\n``. Left out: ``$WBM_DATA/coat``.
    verify : bool
        Compare each file read with its registered SHA-256.

    Returns
    -------
    RatingsDataset
        ``train`` with 6,960 and ``test`` with 4,640 ratings, positive from 3 upwards.

    Raises
    ------
    MissingFileError
        No folder, or one without ``train.ascii`` or ``test.ascii``.
    ChecksumError
        A file whose content is not the registered one (``verify=True`` only).
    DatasetError
        A file with another shape, or with values it cannot hold.

    References
    ----------
    Schnabel, Swaminathan, Singh, Chandak, Joachims, "Recommendations as Treatments: Debiasing Learning and
    Evaluation", ICML 2016.
    """
    folder = files.data_root(root, "coat")
    missing = [filename for filename in REQUIRED if files.find(folder, filename) is None]
    if missing:
        optional = [filename for filename in SHAPES if filename not in REQUIRED]
        raise MissingFileError(
            f"{folder} lacks {' and '.join(missing)}: Coat needs {' and '.join(REQUIRED)} there, and takes "
            f"{', '.join(optional)} if present (each also as .gz); origin: {SOURCE}"
        )
    tables = {filename: _table(folder, filename, verify) for filename in SHAPES}
    return RatingsDataset(
        name="coat",
        train=Ratings.from_matrix(tables["train.ascii"], scale=(1, 5)),
        test=Ratings.from_matrix(tables["test.ascii"], scale=(1, 5)),
        user_features=tables["user_features.ascii"],
        item_features=tables["item_features.ascii"],
        propensities=tables["propensities.ascii"],
        threshold=3.0,
        licence=LICENCE,
        source=SOURCE,
    )


def _table(folder: Path, filename: str, verify: bool) -> NDArray[np.float64] | None:
    path = files.find(folder, filename)
    if path is None:
        return None
    content = files.read(path)
    if verify:
        files.verify(path, SHA256[filename], content)
    table = files.parse_table(content, SHAPES[filename], path)
    if filename in REQUIRED:
        wrong, expected = (table != np.rint(table)) | (table < 0) | (table > 5), "an integer 0..5"
    elif filename == "propensities.ascii":
        wrong, expected = (table <= 0) | (table > 1), "a probability in (0, 1]"
    else:
        wrong, expected = (table != 0) & (table != 1), "0 or 1"
    if wrong.any():
        line, column = (int(index) for index in np.argwhere(wrong)[0])
        raise DatasetError(
            f"{path}: each value must be {expected}; got {table[line, column]:g} "
            f"at line {line + 1}, column {column + 1}"
        )
    return table
