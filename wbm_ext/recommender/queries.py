"""What can be asked of a fitted recommender: predictions, recommendations, propensities, representations, a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from wbm_ext.datasets import Ratings
from wbm_ext.errors import check_name
from wbm_ext.metrics import auc
from wbm_ext.recommender.arguments import as_ratings, check_ids, check_pairs, positives
from wbm_ext.recommender.chunks import in_chunks
from wbm_ext.recommender.parameters import check_integer


class Queries:
    """The questions; a subclass brings ``fit``, ``model_`` and the sizes it knows from the data."""

    model_: Any  # nn.Module: (users, items) -> logits; representation
    n_users_: int
    n_items_: int
    density_: float
    observed_: Ratings
    threshold: float
    dtype: str

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return P(observed); here the constant |O| / |D|."""
        return torch.full(users.shape, self.density_, dtype=getattr(torch, self.dtype), device=users.device)

    def predict(self, users: Any, items: Any) -> np.ndarray:
        """Return P(rating >= threshold) of each pair, float (n,).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            If a user or item is unknown: names the argument, the valid range, the value and its position.
        """
        check_is_fitted(self, "model_")
        return self._over_pairs(lambda u, i: torch.sigmoid(self.model_(u, i)), users, items)

    def propensity(self, users: Any, items: Any) -> np.ndarray:
        """Return the estimate of P(observed) of each pair, float (n,), not clipped (training clips it).

        A system without a propensity model assumes that ratings are missing completely at random: |O| / |D|.
        """
        check_is_fitted(self, "model_")
        return self._over_pairs(self._propensity, users, items)

    def embed(self, users: Any, items: Any) -> np.ndarray:
        """Return the learnt representation [U_u; V_i] of each pair, float (n, 2 * embedding_dim)."""
        check_is_fitted(self, "model_")
        return self._over_pairs(self.model_.representation, users, items)

    def recommend(self, user: int, k: int = 10, exclude: Any = "observed") -> tuple[np.ndarray, np.ndarray]:
        """Return (items, predicted probabilities) of the ``k`` best items for ``user``, best first.

        Parameters
        ----------
        user : int
            One user id.
        k : int
            At least 1.
        exclude : "observed", None or array of item ids
            Items to leave out: those the user has rated in the fitted data, none, or the given ones. Fewer
            than ``k`` items come back if fewer are left. Equal scores: the lower item id first.
        """
        check_is_fitted(self, "model_")
        asked = check_ids("user", user, self.n_users_)
        if len(asked) != 1:
            raise ValueError(f"user must be one user id; got {len(asked)} of them")
        user = int(asked[0])
        check_integer("k", k)
        if isinstance(exclude, str):
            check_name("exclude", exclude, ["observed"])
            exclude = self.observed_.items[self.observed_.users == user]
        candidates = np.arange(self.n_items_)
        if exclude is not None:
            candidates = np.delete(candidates, check_ids("exclude", exclude, self.n_items_))
        scores = self.predict(np.full(len(candidates), user), candidates)
        order = np.argsort(-scores, kind="stable")[:k]
        return candidates[order], scores[order]

    def score(self, users: Any = None, items: Any = None, ratings: Any = None) -> float:
        """Return the pooled ROC AUC of the predictions for y = 1[rating >= threshold].

        Takes what ``fit`` takes: one Ratings object, or users, items, ratings.
        """
        data = as_ratings(users, items, ratings)
        return float(auc(positives(data, self.threshold), self.predict(data.users, data.items)))

    def _over_pairs(self, function: Callable[..., torch.Tensor], users: Any, items: Any) -> np.ndarray:
        checked = check_pairs(users, items, self.n_users_, self.n_items_)
        device = next(self.model_.parameters()).device
        pairs = map(torch.from_numpy, checked)
        return in_chunks(lambda u, i: function(u.to(device), i.to(device)).cpu(), *pairs).numpy()
