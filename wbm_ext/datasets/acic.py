"""ACIC 2016 challenge: 4,802 units, 58 covariates, ten simulated settings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets import files
from wbm_ext.datasets._arrays import check_count
from wbm_ext.datasets.columns import parse_columns
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.errors import DatasetError, MissingFileError

LICENCE = "CDLA-Sharing-1.0; sharing allowed with the licence text"
SOURCE = (
    'Dorie, Hill, Shalit, Scott, Cervone, "Automated versus do-it-yourself methods for causal inference", '
    "Statistical Science 34(1), 2019; files "
    "https://github.com/BiomedSciAI/causallib/tree/master/causallib/datasets/data/acic_challenge_2016"
)

N_UNITS, N_COVARIATES = 4802, 58
NAMES = tuple(f"x_{number}" for number in range(1, N_COVARIATES + 1))
CATEGORIES = {"x_2": tuple("ABCDEF"), "x_21": tuple("ABCDEFGHIJKLMNOP"), "x_24": tuple("ABCDE")}
"""Labels of the categorical columns."""
COLUMNS = ("z", "y0", "y1", "mu0", "mu1")

SHA256: dict[str, str] = {
    "x.csv": "0d6387ad45d23e54b11cbf967248fb68ad5e578db80d193208b8b4c98b1ed0c1",
    "zymu_1.csv": "002fad96bb55d54edec08a0af46ef4f8ad69e0cfe6294ab48f351f22976a6e76",
    "zymu_2.csv": "bc3a03bb461bb1629add09c01dfc77053cf36e8faf8e48a7645b35ddb4005d1c",
    "zymu_3.csv": "8090562d3fcf5a3b02ff5493592a2880b95b106e1c12e2c3a6e6c28ae8468ff6",
    "zymu_4.csv": "61b405c545a451b7e2ce31614150834f94aa4b27069e2755876ed6e11cfee5fd",
    "zymu_5.csv": "e350ac76d0b8e83f45f7f04a4b76b9a32a0d53098452075617e61ce62ad0463a",
    "zymu_6.csv": "a059950f0b51056660364eca14524a3d3254f93c608d8a1df9240c2c4179a7b5",
    "zymu_7.csv": "ac102c3f34680ff901c30fb95985297eea0f20efaf02108f287ceec60b6a2a1f",
    "zymu_8.csv": "bbcde6ad666640adcd39fd50cab00865d22b5c463ce9db6d0940d8eccd5afcf3",
    "zymu_9.csv": "02663b776fa87cd3d91ee7871e98c1b4d63579957b12ef9bb1ecf367b7afc366",
    "zymu_10.csv": "c8ee8ca537ef4315a0ee5753bd01d792a1b3cdacb1fd69e1288b2bb89944d1b7",
}
r"""SHA-256 of each file, unpacked, with line ends ``\n``."""


def load_acic2016(root: str | os.PathLike[str] | None = None, file: int = 1, *, verify: bool = True) -> Treatments:
    r"""Read one setting of the ACIC 2016 challenge from ``x.csv`` and ``zymu_<file>.csv``.

    Each file is one draw from a setting of its own, so errors of different files have different scales: divide by
    the standard deviation of the effect before averaging. In files 2 and 3 the effect is constant, and ranking
    metrics mean nothing there. Covariates are not scaled (largest absolute value 940), outcomes are not centred;
    the noise of the outcomes has standard deviation 1.

    ``x_2``, ``x_21`` and ``x_24`` are categorical: ``X`` holds their codes, ``categories`` their labels,
    :meth:`Treatments.encoded` gives 79 numeric columns, :meth:`Treatments.frame` a DataFrame.

    Parameters
    ----------
    root : path, optional
        Folder with the files, each also as ``.gz`` and with line ends ``\n`` or ``\r\n``. Left out:
        ``$WBM_DATA/acic2016``.
    file : int
        1 to 10.
    verify : bool
        Compare both files with their registered SHA-256.

    Returns
    -------
    Treatments
        4,802 units x 58 covariates with ``y``, ``y_cf`` (both with noise), ``mu0`` and ``mu1``.

    Raises
    ------
    MissingFileError
        No folder, or one without one of the two files.
    ChecksumError
        Another content than the registered one (``verify=True`` only).
    DatasetError
        A file of another shape, or with values it cannot hold; the message names file and line.
    TypeError, ValueError
        A file that is not an integer in 1..10.

    References
    ----------
    Dorie, Hill, Shalit, Scott, Cervone, "Automated versus do-it-yourself methods for causal inference: lessons
    learned from a data analysis competition", Statistical Science 2019.
    """
    if check_count("file", file) > len(SHA256) - 1:
        raise ValueError(f"file must be an integer in 1..{len(SHA256) - 1}; got {file}")
    folder = files.data_root(root, "acic2016")
    outcomes = f"zymu_{file}.csv"
    lacking = [filename for filename in ("x.csv", outcomes) if files.find(folder, filename) is None]
    if lacking:
        raise MissingFileError(f"{folder} lacks {' and '.join(lacking)} (each also as .gz); origin: {SOURCE}")
    table = _read(folder, "x.csv", NAMES, verify, CATEGORIES)
    zymu = _read(folder, outcomes, COLUMNS, verify)
    treated = zymu["z"] == 1
    wrong = ~treated & (zymu["z"] != 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DatasetError(
            f"{files.find(folder, outcomes)}: z must be 0 or 1; got {zymu['z'][place]:g} in row {place + 1}"
        )
    return Treatments(
        np.column_stack([table[name] for name in NAMES]),
        zymu["z"].astype(np.int64),
        np.where(treated, zymu["y1"], zymu["y0"]),
        mu0=zymu["mu0"],
        mu1=zymu["mu1"],
        y_cf=np.where(treated, zymu["y0"], zymu["y1"]),
        names=NAMES,
        categories=CATEGORIES,
        name=f"acic2016-{file}",
        licence=LICENCE,
        source=SOURCE,
    )


def _read(
    folder: Path, filename: str, names: tuple[str, ...], verify: bool, labels: dict[str, tuple[str, ...]] | None = None
) -> dict[str, NDArray[np.float64]]:
    path = files.find(folder, filename)
    assert path is not None
    content = files.read(path)
    if verify:
        files.verify(path, SHA256[filename], content)
    return parse_columns(content, names, path, header=True, rows=N_UNITS, labels=labels)
