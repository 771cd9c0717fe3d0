"""The data sets that :func:`wbm_ext.datasets.load` knows: files, hashes, terms of use, where to get them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wbm_ext.datasets import acic, coat, files, ihdp, kuairec, yahoo
from wbm_ext.datasets.bundle import RatingsDataset
from wbm_ext.datasets.synthetic import make_niche_ratings, make_ratings
from wbm_ext.datasets.treatment_synthetic import make_hidden_toy, make_treatments
from wbm_ext.datasets.treatments import Treatments
from wbm_ext.errors import check_name


@dataclass(frozen=True)
class Entry:
    """What is known of one data set.

    Attributes
    ----------
    name : str
        Also the name of its folder under ``WBM_DATA``.
    kind : {"ratings", "treatments"}
    summary : str
        One line.
    loader : callable
        Reader, or generator.
    licence, source : str
        Terms of use; reference and source page.
    files : mapping from str to (str or None)
        SHA-256 of each file, unpacked and with line ends of one character; None where none is known.
    required : tuple of str
        Files without which it cannot be read at all.
    address : str
        Where its files of known hash can be fetched, a folder; empty: nowhere, the user gets them himself.
    generated : bool
    """

    name: str
    kind: str
    summary: str
    loader: Callable[..., Any]
    licence: str
    source: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    address: str = ""
    generated: bool = False

    @property
    def fetchable(self) -> tuple[str, ...]:
        """Files that :func:`wbm_ext.datasets.fetch` can get."""
        return tuple(name for name, sha256 in self.files.items() if sha256) if self.address else ()


_GENERATED: dict[str, Any] = {"licence": "generated; free of third-party rights", "generated": True}
_RAW = "https://raw.githubusercontent.com"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "coat",
            "ratings",
            "290 users x 300 coats, 6,960 chosen and 4,640 random ratings",
            coat.load_coat,
            coat.LICENCE,
            coat.SOURCE,
            coat.SHA256,
            coat.REQUIRED,
            f"{_RAW}/RyanWangZf/CVIB-Rec/f9eccc94f882c57b7f9ac9ae4c22d76353362a0b/data/coat",
        ),
        Entry(
            "yahoo-r3",
            "ratings",
            "15,400 users x 1,000 songs, 311,704 chosen and 54,000 random ratings",
            yahoo.load_yahoo_r3,
            yahoo.LICENCE,
            yahoo.SOURCE,
            dict.fromkeys(yahoo.ROWS),
            tuple(yahoo.ROWS),
        ),
        Entry(
            "kuairec",
            "ratings",
            "7,176 users x 10,728 videos, 12,530,806 watch ratios and a block of 4,676,570 seen almost in full",
            kuairec.load_kuairec,
            kuairec.LICENCE,
            kuairec.SOURCE,
            {name: kuairec.SHA256.get(name) for name in kuairec.ROWS},
            (kuairec.BIG, kuairec.SMALL),
            f"{_RAW}/haoxuanli-pku/ICDE24-MNAR/7348f0dcb6dda02d4c9961f3d6f318e22525d5f9/real_world/data/kuai",
        ),
        Entry(
            "ihdp",
            "treatments",
            "747 infants x 25 covariates, ten realisations of simulated outcomes",
            ihdp.load_ihdp,
            ihdp.LICENCE,
            ihdp.SOURCE,
            ihdp.SHA256,
            (),
            f"{_RAW}/AMLab-Amsterdam/CEVAE/9081f863e24ce21bd34c8d6a41bf0edc7d1b65dd/datasets/IHDP/csv",
        ),
        Entry(
            "acic2016",
            "treatments",
            "4,802 units x 58 covariates, ten simulated settings",
            acic.load_acic2016,
            acic.LICENCE,
            acic.SOURCE,
            acic.SHA256,
            ("x.csv",),
            f"{_RAW}/BiomedSciAI/causallib/803a4d34eaf09980258b498631d6af15017528dc"
            "/causallib/datasets/data/acic_challenge_2016",
        ),
        Entry(
            "synthetic",
            "ratings",
            "ratings missing not at random, with known propensities and every rating known",
            make_ratings,
            source="wbm_ext.datasets.make_ratings",
            **_GENERATED,
        ),
        Entry(
            "niche-items",
            "ratings",
            "generated: niche items are seen by those who like them, which hurts a model of the ratings as they are",
            make_niche_ratings,
            source="wbm_ext.datasets.make_niche_ratings",
            **_GENERATED,
        ),
        Entry(
            "synthetic-effects",
            "treatments",
            "units with known propensities and effects; overlap, hidden confounder, outliers",
            make_treatments,
            source="wbm_ext.datasets.make_treatments",
            **_GENERATED,
        ),
        Entry(
            "hidden-toy",
            "treatments",
            "balanced covariates and a confounder that only the outcome shows (ESCFR, Figure 9)",
            make_hidden_toy,
            source="wbm_ext.datasets.make_hidden_toy",
            **_GENERATED,
        ),
    )
}

NAMES = tuple(ENTRIES)
"""Names that :func:`load` knows."""


def available(kind: str | None = None) -> tuple[str, ...]:
    """Return the names of all data sets, or of those of one kind.

    Parameters
    ----------
    kind : {"ratings", "treatments"}, optional

    Raises
    ------
    UnknownNameError
        ``kind`` does not exist.
    """
    if kind is not None:
        check_name("kind", kind, ("ratings", "treatments"))
    return tuple(name for name, entry in ENTRIES.items() if kind in (None, entry.kind))


def describe(name: str) -> str:
    """Return what a data set is, its terms, its files and where they come from, as a few lines of text.

    Raises
    ------
    UnknownNameError
        ``name`` does not exist.
    """
    entry = entry_of(name)
    lines = [f"{name}: {entry.summary}", f"  kind: {entry.kind}", f"  licence: {entry.licence}"]
    lines.append(f"  source: {entry.source}")
    if entry.generated:
        return "\n".join(lines)
    lines.append(f"  folder: ${files.DATA_VARIABLE}/{name}, or root=<folder>")
    for filename, sha256 in entry.files.items():
        need = ", required" if filename in entry.required else ""
        lines.append(f"  file: {filename}{need}, SHA-256 {sha256 or 'not known'}")
    where = f"wbm_ext.datasets.fetch({name!r}), from {entry.address}" if entry.address else "from the source page only"
    partly = "; the other files from the source page" if 0 < len(entry.fetchable) < len(entry.files) else ""
    lines.append(f"  get it: {where}{partly}")
    return "\n".join(lines)


def load(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> RatingsDataset | Treatments:
    """Return a data set by name.

    Parameters
    ----------
    name : str
        One of :func:`available`.
    root : path, optional
        Folder with the files; left out, ``$WBM_DATA/<name>``, else the folder that :func:`fetch` fills. Generated
        data takes none.
    **options
        Passed on to the reader or generator, e.g. ``verify``, ``realisation`` to :func:`load_ihdp`, ``file`` to
        :func:`load_acic2016`, ``test`` to :func:`load_kuairec`, all arguments of :func:`make_ratings`.

    Returns
    -------
    RatingsDataset or Treatments
        By the kind of the data set.

    Raises
    ------
    UnknownNameError
        A name that does not exist; the message holds the nearest one.
    ValueError
        A ``root`` for generated data.
    """
    entry = entry_of(name)
    if not entry.generated:
        return entry.loader(root, **options)
    if root is not None:
        raise ValueError(f"root must be None for {name!r}, which is generated; got {os.fspath(root)!r}")
    return entry.loader(**options)


def entry_of(name: str) -> Entry:
    """Return the registry's entry of ``name``, else raise :class:`UnknownNameError`."""
    return ENTRIES[check_name("name", name, NAMES)]
