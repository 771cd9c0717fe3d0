"""Users and items as a table names them, and as the ids that a fitted recommender counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbm_ext.datasets.cells import is_whole
from wbm_ext.errors import DatasetError


def ids_of(estimator: Any, role: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of users or items (``role``) of a fitted recommender, -1 where it does not know one."""
    labels = getattr(estimator.observed_, f"{role}_labels")
    if labels is not None:
        known = {label: place for place, label in enumerate(labels.tolist())}
        return np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))
    count = getattr(estimator, f"n_{role}s_")
    places = {name: int(name) if is_whole(name) and len(name) < 19 else -1 for name in set(names)}
    return np.fromiter((places[name] if places[name] < count else -1 for name in names), np.int64, len(names))


def names_of(estimator: Any, role: str, ids: Sequence[int]) -> list[Any]:
    """Return what the fitted table calls the users or items with these ids."""
    labels = getattr(estimator.observed_, f"{role}_labels")
    return list(ids) if labels is None else labels[list(ids)].tolist()


def known_pairs(estimator: Any, table: Any, roles: Mapping[str, str]) -> tuple[dict[str, NDArray], NDArray[np.bool_]]:
    """Return the ids of users and items of a table, and which rows have both of them known."""
    ids = {role: ids_of(estimator, role, table.labels(roles[role])) for role in ("user", "item")}
    return ids, (ids["user"] >= 0) & (ids["item"] >= 0)


def refuse_unknown(estimator: Any, table: Any, roles: Mapping[str, str], ids: Mapping[str, NDArray]) -> None:
    """Raise at the first user or item that the model does not know, saying how many there are."""
    for role in ("user", "item"):
        strange = ids[role] < 0
        if strange.any():
            row = int(np.argmax(strange))
            raise DatasetError(
                f"{table.path}: {unknown(estimator, role, table.labels(roles[role])[row])}, in {table.place(row)}, "
                f"column {roles[role]!r} (and {int(strange.sum()) - 1} more rows); --skip-unknown leaves them out"
            )


def unknown(estimator: Any, role: str, name: str) -> str:
    """Return the words for a user or an item that the model does not know."""
    labels = getattr(estimator.observed_, f"{role}_labels")
    count = getattr(estimator, f"n_{role}s_")
    known = f"the ids 0..{count - 1}" if labels is None else f"the {count} of its fit"
    return f"the model knows no {role} {name!r}, only {known}"
