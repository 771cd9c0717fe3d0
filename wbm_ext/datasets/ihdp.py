"""IHDP: 747 infants, 25 covariates, ten simulated outcome surfaces (NPCI)."""

from __future__ import annotations

import os

import numpy as np

from wbm_ext.datasets import files
from wbm_ext.datasets._arrays import check_count
from wbm_ext.datasets.columns import parse_columns
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.errors import DatasetError, MissingFileError

LICENCE = "no licence stated by the sources; research use, cite Hill 2011"
SOURCE = (
    'Hill, "Bayesian Nonparametric Modeling for Causal Inference", JCGS 20(1), 2011; outcomes by the R package '
    "npci; files https://github.com/AMLab-Amsterdam/CEVAE/tree/master/datasets/IHDP/csv"
)

N_UNITS, N_COVARIATES = 747, 25
NAMES = tuple(f"x{number}" for number in range(1, N_COVARIATES + 1))
COLUMNS = ("treatment", "y_factual", "y_cfactual", "mu0", "mu1", *NAMES)

SHA256: dict[str, str] = {
    "ihdp_npci_1.csv": "2bdc8b94fdf2f669b1d3d49325fd9359d88418566545003867841312a1653411",
    "ihdp_npci_2.csv": "36db2f3d002250bc95e5214477718c939fbe7dfe8df573c4050d8b246d314042",
    "ihdp_npci_3.csv": "bd792ce0642468195b2c3f0cd4c521378d7d52d044f153e844d151a87e067518",
    "ihdp_npci_4.csv": "ac04602a2f052af1211347bcaff87f7bab356a4a7f42f8c6a81edede51549006",
    "ihdp_npci_5.csv": "8f9b3ef4b66e8f9dd240c9851233f4fb483c73c25b6d23c6459c666edb9cd691",
    "ihdp_npci_6.csv": "e05192794201c8a8fe1e4a88f12d3367d3d6b568eadb46365557661bff00712e",
    "ihdp_npci_7.csv": "246684bfc9e1258e5bdc59c3d1c13c0694a331d1f13026ff79f6c4605e6d3678",
    "ihdp_npci_8.csv": "6e88b890ee4ed6274b8ea4285500dd0865ab71e17010ee505f7e2a2d507c4511",
    "ihdp_npci_9.csv": "fe959d86a37be9278ef195fbf139b2b8af1b8246b3518208cd00b295d906a98f",
    "ihdp_npci_10.csv": "b9bce7e081f245b7689a3c2b5e4ed37162dca8cd596e0998b73ddc0ac92a4919",
}
r"""SHA-256 of each file, unpacked, with line ends ``\n``."""


def load_ihdp(root: str | os.PathLike[str] | None = None, realisation: int = 1, *, verify: bool = True) -> Treatments:
    r"""Read one realisation of IHDP from ``ihdp_npci_<realisation>.csv``.

    Covariates and treatment (139 treated) are the same in all ten files; only outcomes change. The surface is
    NPCI's with the effect on the treated set to 4: ATT = 4.000 in each file, while the effect varies from unit to
    unit. Its standard deviation is about 1 in the median file and 27.4 in file 9, which rules every mean over
    files: report results a file.

    ``x1 .. x6`` are standardised, the others 0/1; ``x14``, which is 1 or 2 in the files, is returned as 0 or 1.

    Parameters
    ----------
    root : path, optional
        Folder with the files, each also as ``.gz`` and with line ends ``\n`` or ``\r\n``. Left out:
        ``$WBM_DATA/ihdp``.
    realisation : int
        1 to 10.
    verify : bool
        Compare the file with its registered SHA-256.

    Returns
    -------
    Treatments
        747 units x 25 covariates with ``y``, ``y_cf``, ``mu0`` and ``mu1``.

    Raises
    ------
    MissingFileError
        No folder, or one without the file.
    ChecksumError
        Another content than the registered one (``verify=True`` only).
    DatasetError
        A file of another shape, or with values it cannot hold; the message names file and line.
    TypeError, ValueError
        A realisation that is not an integer in 1..10.

    References
    ----------
    Hill, "Bayesian Nonparametric Modeling for Causal Inference", JCGS 2011. Shalit, Johansson, Sontag,
    "Estimating individual treatment effect", ICML 2017.
    """
    if check_count("realisation", realisation) > len(SHA256):
        raise ValueError(f"realisation must be an integer in 1..{len(SHA256)}; got {realisation}")
    filename = f"ihdp_npci_{realisation}.csv"
    folder = files.data_root(root, "ihdp")
    path = files.find(folder, filename)
    if path is None:
        raise MissingFileError(f"{folder} lacks {filename} (or {filename}.gz); origin: {SOURCE}")
    content = files.read(path)
    if verify:
        files.verify(path, SHA256[filename], content)
    table = parse_columns(content, COLUMNS, path, header=False, rows=N_UNITS)
    wrong = (table["treatment"] != 0) & (table["treatment"] != 1)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DatasetError(f"{path}: treatment must be 0 or 1; got {table['treatment'][place]:g} in row {place + 1}")
    X = np.column_stack([table[name] for name in NAMES])
    X[:, NAMES.index("x14")] -= 1
    return Treatments(
        X,
        table["treatment"].astype(np.int64),
        table["y_factual"],
        mu0=table["mu0"],
        mu1=table["mu1"],
        y_cf=table["y_cfactual"],
        names=NAMES,
        name=f"ihdp-{realisation}",
        licence=LICENCE,
        source=SOURCE,
    )
