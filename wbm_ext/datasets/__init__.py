"""Data sets of debiased recommendation and treatment effects: readers of files the user has, and generators.

No data is shipped, and none is fetched unless :func:`fetch` is called. :func:`load` takes one of the names of
:func:`available`, :func:`describe` tells terms and origin; ``load_coat``, ``make_ratings`` and the others are the same
by function.
"""

from __future__ import annotations

from wbm_ext.datasets.acic import load_acic2016
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.coat import load_coat
from wbm_ext.datasets.download import FileState, check, fetch
from wbm_ext.datasets.files import data_root, verify
from wbm_ext.datasets.ihdp import load_ihdp
from wbm_ext.datasets.kuairec import load_kuairec, load_kuairec_extract
from wbm_ext.datasets.ratings import Ratings, overlap
from wbm_ext.datasets.registry import NAMES, available, describe, load
from wbm_ext.datasets.synthetic import make_niche_ratings, make_ratings
from wbm_ext.datasets.tables import read_dataset, read_ratings
from wbm_ext.datasets.treatment_synthetic import make_hidden_toy, make_treatments
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.datasets.yahoo import load_yahoo_r3

__all__ = [
    "NAMES",
    "FileState",
    "Ratings",
    "RatingsDataset",
    "Treatments",
    "available",
    "check",
    "data_root",
    "describe",
    "fetch",
    "load",
    "load_acic2016",
    "load_coat",
    "load_ihdp",
    "load_kuairec",
    "load_kuairec_extract",
    "load_yahoo_r3",
    "make_hidden_toy",
    "make_niche_ratings",
    "make_ratings",
    "make_treatments",
    "overlap",
    "read_dataset",
    "read_ratings",
    "verify",
]
