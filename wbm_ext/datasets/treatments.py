"""One data set of treatment effects: covariates, a binary treatment, outcomes, and what is known of the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets._arrays import (
    as_array,
    as_binary,
    as_ids,
    as_propensity,
    as_vector,
    check_same_length,
    reject,
)
from wbm_ext.datasets._split import stratified_parts
from wbm_ext.errors import DatasetError, check_name

ROWS = ("X", "treatment", "y", "mu0", "mu1", "y_cf", "propensities", "hidden", "outliers")
"""Fields with one entry a unit."""


@dataclass(frozen=True, eq=False, repr=False)
class Treatments:
    """Units with covariates, treatment and factual outcome; for (semi-)synthetic data also the truth.

    Parameters
    ----------
    X : array, shape (n, p)
        Covariates, stored as float64. A categorical column holds the codes 0, 1, ... of its labels.
    treatment : array of 0/1, shape (n,)
        Stored as int64.
    y : array, shape (n,)
        Factual outcome, in the unit of the data set, as are ``mu0``, ``mu1`` and ``y_cf``. Float64.
    mu0, mu1 : array, shape (n,), optional
        Expected outcome without and with treatment, free of noise. Both or neither.
    y_cf : array, shape (n,), optional
        Counterfactual outcome, with noise. Never seen by a fit.
    names : sequence of str, optional
        Names of the columns of ``X``; default ``x1 .. xp``.
    categories : mapping from str to sequence of str, optional
        Labels of each categorical column, in the order of the codes.
    propensities : array, shape (n,), optional
        True P(treated | everything that decides it), in (0, 1]; known for generated data.
    hidden : array, shape (n, h), optional
        Confounders that ``X`` does not show; known for generated data.
    outliers : array of 0/1, shape (n,), optional
        Units that were made outliers; known for generated data.
    name, licence, source : str

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, values that are not finite, a treatment other than 0 and 1, codes without a
        label. The message holds the first offending position.

    Examples
    --------
    >>> from wbm_ext.datasets import Treatments
    >>> data = Treatments([[0.0], [1.0]], [1, 0], [3.0, 1.0], mu0=[1.0, 1.0], mu1=[3.0, 2.0])
    >>> data.ate(), data.att()
    (1.5, 2.0)
    """

    X: NDArray[np.float64]
    treatment: NDArray[np.int64]
    y: NDArray[np.float64]
    mu0: NDArray[np.float64] | None = None
    mu1: NDArray[np.float64] | None = None
    y_cf: NDArray[np.float64] | None = None
    names: Sequence[str] | None = None
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    propensities: NDArray[np.float64] | None = None
    hidden: NDArray[np.float64] | None = None
    outliers: NDArray[np.bool_] | None = None
    name: str = "treatments"
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "X", _matrix("X", self.X))
        set_field(self, "treatment", as_binary("treatment", as_vector("treatment", self.treatment)).astype(np.int64))
        for part in ("y", "mu0", "mu1", "y_cf"):
            if getattr(self, part) is not None:
                set_field(self, part, _outcome(part, getattr(self, part)))
        if self.propensities is not None:
            set_field(self, "propensities", as_propensity("propensities", as_vector("propensities", self.propensities)))
        if self.hidden is not None:
            set_field(self, "hidden", _matrix("hidden", self.hidden))
        if self.outliers is not None:
            set_field(self, "outliers", as_binary("outliers", as_vector("outliers", self.outliers)))
        check_same_length(**{part: getattr(self, part) for part in ROWS if getattr(self, part) is not None})
        if (self.mu0 is None) != (self.mu1 is None):
            raise ValueError("mu0 and mu1 must both be given or both be left out; got one of them")
        names = [f"x{column + 1}" for column in range(self.X.shape[1])] if self.names is None else self.names
        set_field(self, "names", _check_names(names, self.X.shape[1]))
        set_field(self, "categories", _check_categories(self.categories, self.names, self.X))

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Treatments({self.name!r}, n={len(self)}, p={self.X.shape[1]}, treated={int(self.treatment.sum())})"

    def effect(self) -> NDArray[np.float64]:
        """Return the true effect of each unit, mu1 - mu0, float64 (n,).

        Raises
        ------
        DatasetError
            The data set does not know it.
        """
        if self.mu0 is None or self.mu1 is None:
            raise DatasetError(f"the true effect needs mu0 and mu1; got None for both in data set {self.name!r}")
        return self.mu1 - self.mu0

    def ate(self) -> float:
        """Return the true average effect, mean(mu1 - mu0); errors as for :meth:`effect`."""
        return float(self.effect().mean())

    def att(self) -> float:
        """Return the true average effect on the treated; a DatasetError if there is no treated unit."""
        effect = self.effect()[self.treatment == 1]
        if len(effect) == 0:
            raise DatasetError(f"the effect on the treated needs a treated unit; got none in data set {self.name!r}")
        return float(effect.mean())

    def subset(self, index: Any) -> Treatments:
        """Return the units at ``index`` (boolean mask of length n, or positions, each at most once).

        Raises
        ------
        ValueError
            A mask of another length, a position outside [0, n), a position named twice.
        """
        array = as_vector("index", index)
        if array.dtype.kind == "b":
            if len(array) != len(self):
                raise ValueError(f"index: a mask must have length {len(self)}; got {len(array)}")
            array = np.flatnonzero(array)
        array = as_ids("index", array, len(self))
        if len(np.unique(array)) != len(array):
            raise ValueError("index: each unit may be named once; got one again")
        values = {part: getattr(self, part) for part in ROWS}
        return replace(self, **{part: value[array] for part, value in values.items() if value is not None})

    def split(
        self,
        fractions: Sequence[float] = (0.70, 0.15, 0.15),
        random_state: int | np.random.Generator | None = None,
        *,
        stratify: bool = True,
    ) -> tuple[Treatments, ...]:
        """Split at random into parts of about ``fractions`` of the units; every part keeps the order.

        The default is the usual train, validation and test split; 523, 112 and 112 units on IHDP.

        Parameters
        ----------
        fractions : sequence of float
            Share of each part, positive, with sum 1. Sizes are rounded by largest remainder.
        random_state : int, Generator or None
            Seed of :func:`numpy.random.default_rng`.
        stratify : bool
            Give every part the treated share of the whole, up to one unit.

        Raises
        ------
        ValueError
            Fractions that are not positive or do not sum to 1, a part without a unit.
        """
        strata = self.treatment if stratify else np.zeros(len(self), dtype=np.int64)
        return tuple(self.subset(part) for part in stratified_parts(strata, fractions, random_state))

    def encoded(self, *, drop_first: bool = True) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Return the covariates with each categorical column as 0/1 columns, and the names of all columns.

        Parameters
        ----------
        drop_first : bool
            Leave out the column of the first label (79 columns on ACIC 2016; 82 with it).
        """
        columns, names = [], []
        for position, name in enumerate(self.names or ()):
            labels = self.categories.get(name)
            if labels is None:
                columns.append(self.X[:, position])
                names.append(name)
                continue
            for code in range(int(drop_first), len(labels)):
                columns.append((self.X[:, position] == code).astype(np.float64))
                names.append(f"{name}={labels[code]}")
        return np.column_stack(columns), tuple(names)

    def frame(self) -> Any:
        """Return the covariates as a pandas DataFrame, categorical columns as pandas categories with their labels."""
        from wbm_ext.errors import require_extra

        pandas = require_extra("pandas", "data", "a DataFrame of the covariates")
        table = {}
        for position, name in enumerate(self.names or ()):
            column = self.X[:, position]
            labels = self.categories.get(name)
            table[name] = column if labels is None else pandas.Categorical.from_codes(column.astype(int), list(labels))
        return pandas.DataFrame(table)

    def describe(self) -> str:
        """Return sizes, effects and origin as a few lines of text."""
        lines = [f"{self.name}: {len(self)} units x {self.X.shape[1]} covariates"]
        lines.append(f"  treated {int(self.treatment.sum())}, share {self.treatment.mean():.3f}")
        lines.append(f"  y mean {self.y.mean():.3f}, sd {self.y.std():.3f}")
        if self.mu0 is not None:
            treated = f", ATT {self.att():.3f}" if self.treatment.any() else ""
            lines.append(f"  true effect: ATE {self.ate():.3f}{treated}, sd {self.effect().std():.3f}")
        lines.append(f"  categorical: {', '.join(self.categories) or 'none'}")
        lines.append(f"  licence: {self.licence or 'not given'}")
        lines.append(f"  source: {self.source or 'not given'}")
        return "\n".join(lines)


def _matrix(part: str, value: Any) -> NDArray[np.float64]:
    array = as_array(part, value)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{part} must have shape (n, p), n and p at least 1; got {array.shape}")
    reject(part, ~np.isfinite(array), array, "values must be finite")
    return array.astype(np.float64)


def _outcome(part: str, value: Any) -> NDArray[np.float64]:
    array = as_vector(part, value).astype(np.float64)
    reject(part, ~np.isfinite(array), array, "values must be finite")
    return array


def _check_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    stored = tuple(str(name) for name in names)
    if len(stored) != count:
        raise ValueError(f"names must hold a name a column of X, {count}; got {len(stored)}")
    if len(set(stored)) != count:
        raise ValueError(f"names must differ; got {next(name for name in stored if stored.count(name) > 1)!r} twice")
    return stored


def _check_categories(
    categories: Mapping[str, Sequence[str]], names: Any, X: NDArray[np.float64]
) -> dict[str, tuple[str, ...]]:
    stored = {}
    for name, labels in categories.items():
        check_name("categories", name, names)
        column, known = X[:, names.index(name)], tuple(str(label) for label in labels)
        bad = (column != np.rint(column)) | (column < 0) | (column >= len(known))
        reject(f"X, column {name!r}", bad, column, f"a categorical column holds codes 0..{len(known) - 1}")
        stored[name] = known
    return stored
