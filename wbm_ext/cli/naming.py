"""Users and items as the fitted table names them, and as the ids that its recommender counts."""

from __future__ import annotations

from typing import Any


def known_ids(estimator: Any, role: str, values: Any) -> Any:
    """Return the ids of users or items (``role``) of a fitted recommender; integers where it was fitted on ids.

    Raises
    ------
    ValueError, TypeError
        A name that the fitted table did not have, or what is no name.
    """
    import numpy as np

    from wbm_ext.datasets.labels import as_labels, number

    labels = getattr(estimator.observed_, f"{role}_labels")
    if labels is None:
        return np.asarray(values)
    return number(f"{role}s", as_labels(f"{role}s", values), labels)


def called(estimator: Any, role: str, ids: list[int]) -> list[Any]:
    """Return what the fitted table calls users or items with these ids."""
    labels = getattr(estimator.observed_, f"{role}_labels")
    return ids if labels is None else labels[ids].tolist()
