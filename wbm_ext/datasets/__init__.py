"""Data sets for debiased recommendation: loaders of files the user has, and a generator with known truth.

No data is shipped or fetched. :func:`load` takes a name; ``load_coat`` and ``make_ratings`` are the same by
function.
"""

from __future__ import annotations

import os
from typing import Any

from wbm_ext.datasets.acic import load_acic2016
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.coat import load_coat
from wbm_ext.datasets.files import data_root, verify
from wbm_ext.datasets.ihdp import load_ihdp
from wbm_ext.datasets.kuairec import load_kuairec, load_kuairec_extract
from wbm_ext.datasets.ratings import Ratings, overlap
from wbm_ext.datasets.synthetic import make_ratings
from wbm_ext.datasets.tables import read_dataset, read_ratings
from wbm_ext.datasets.treatment_synthetic import make_hidden_toy, make_treatments
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.datasets.yahoo import load_yahoo_r3
from wbm_ext.errors import check_name

__all__ = [
    "NAMES",
    "Ratings",
    "RatingsDataset",
    "Treatments",
    "data_root",
    "load",
    "load_acic2016",
    "load_coat",
    "load_ihdp",
    "load_kuairec",
    "load_kuairec_extract",
    "load_yahoo_r3",
    "make_hidden_toy",
    "make_ratings",
    "make_treatments",
    "overlap",
    "read_dataset",
    "read_ratings",
    "verify",
]

NAMES = ("coat", "synthetic")
"""Names that :func:`load` knows."""


def load(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> RatingsDataset:
    """Return a data set by name.

    Parameters
    ----------
    name : {"coat", "synthetic"}
    root : path, optional
        Folder with the files; left out, ``$WBM_DATA/<name>``. Generated data takes none.
    **options
        Passed on: ``verify`` to :func:`load_coat`, all arguments of :func:`make_ratings`.

    Raises
    ------
    UnknownNameError
        A name that does not exist; the message holds the nearest one.
    ValueError
        A ``root`` for generated data.
    """
    check_name("name", name, NAMES)
    if name == "coat":
        return load_coat(root, **options)
    if root is not None:
        raise ValueError(f"root must be None for {name!r}, which is generated; got {os.fspath(root)!r}")
    return make_ratings(**options)
