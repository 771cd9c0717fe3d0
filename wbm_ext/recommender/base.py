"""The estimator all recommenders share: parameters, one ``fit``, and what can be asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from wbm_ext.datasets import Ratings
from wbm_ext.errors import check_name
from wbm_ext.metrics import auc
from wbm_ext.recommender.arguments import as_ratings, check_both_classes, check_ids, check_pairs, positives
from wbm_ext.recommender.networks import MatrixFactorization
from wbm_ext.recommender.parameters import check_device, check_flag, check_integer, check_number
from wbm_ext.recommender.sampling import Batch, ObservedBatches, PairSpace
from wbm_ext.recommender.validation import log_loss, validation_pairs
from wbm_ext.training import Streams, train

_CHUNK = 1 << 18


@dataclass(kw_only=True, eq=False, repr=False)
class Recommender(BaseEstimator):
    """Base of all systems: a model of P(rating >= threshold | user, item), trained by one loop.

    A system gives its loss terms (``_terms``) and, where they differ from plain matrix factorisation on
    observed pairs, its network, its batches and its propensities.

    Parameters
    ----------
    embedding_dim : int
        Size k of the user and item embeddings.
    learning_rate, weight_decay : float
        Of Adam. Weight decay acts on all parameters, also on embeddings that are not in the batch. The default has
        the lowest log loss on held-out biased pairs of Coat for naive and ips, and is within noise of it for
        ips-wbm; from 7e-4 on all embeddings vanish and only the biases are left.
    batch_size : int
        Observed pairs a step (uniform sampling: pairs of D a step).
    epochs : int
        Largest number of epochs.
    validation : {"biased", "unbiased", None}
        What decides the best epoch: the log loss on ``validation_fraction`` of the observed pairs, held out
        at random; the log loss on the ``validation_ratings`` given to ``fit`` (pairs at random, never those
        to be reported); or nothing, and the last epoch is kept. It is unweighted in every system: an
        inverse-propensity weighted log loss would move with the propensities it is meant to judge, and rests
        on few pairs.
    validation_fraction : float
        Share of the observed pairs that ``validation="biased"`` holds out.
    patience : int
        Epochs without a better validation value before training stops.
    threshold : float
        y = 1[rating >= threshold].
    random_state : int, None or torch.Generator
        Hold-out, initial values and batches; the global generators are neither used nor changed.
    progress : bool
        Show a bar over the epochs.
    device : str
        Where to train, e.g. "cpu" or "cuda".
    dtype : {"float32", "float64"}
        Of parameters and losses.

    Attributes
    ----------
    model_ : nn.Module
    history_ : History
        One record an epoch: each loss term, validation value, diagnostics.
    n_users_, n_items_ : int
    density_ : float
        |O| / |D|.
    observed_ : Ratings
        What it was fitted on.
    """

    embedding_dim: int = 8
    learning_rate: float = 0.01
    weight_decay: float = 4e-4
    batch_size: int = 128
    epochs: int = 100
    validation: str | None = "biased"
    validation_fraction: float = 0.1
    patience: int = 5
    threshold: float = 3
    random_state: int | torch.Generator | None = None
    progress: bool = False
    device: str = "cpu"
    dtype: str = "float32"

    name: ClassVar[str] = ""

    # ------------------------------------------------------------------ what a system may change

    def _check_parameters(self) -> None:
        check_integer("embedding_dim", self.embedding_dim)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("weight_decay", self.weight_decay, least=0)
        check_integer("batch_size", self.batch_size)
        check_integer("epochs", self.epochs)
        if self.validation is not None:
            check_name("validation", self.validation, ["biased", "unbiased"])
        check_number("validation_fraction", self.validation_fraction, above=0, below=1)
        check_integer("patience", self.patience)
        check_number("threshold", self.threshold)
        check_flag("progress", self.progress)
        check_name("dtype", self.dtype, ["float32", "float64"])
        check_device(self.device)

    def _network(self, space: PairSpace, generator: torch.Generator, **options: Any) -> nn.Module:
        return MatrixFactorization(space.n_users, space.n_items, self.embedding_dim, generator=generator, **options)

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        """Do what comes before the training of the model (a propensity stage, say)."""

    def _batches(self, space: PairSpace, streams: Streams) -> Iterable[Batch]:
        return ObservedBatches(space, self.batch_size, generator=streams.torch("batches"))

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the named loss terms of a batch; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} gives no loss")

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        """Add figures to an epoch's record."""

    def _conclude(self) -> None:
        """Look back on the finished training (warnings)."""

    def _propensity(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return P(observed); here the constant |O| / |D|."""
        return torch.full(users.shape, self.density_, dtype=getattr(torch, self.dtype), device=users.device)

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        users: Any = None,
        items: Any = None,
        ratings: Any = None,
        *,
        validation_ratings: Ratings | None = None,
    ) -> Self:
        """Fit to a :class:`~wbm_ext.datasets.Ratings`, ``fit(data)``, or to ``fit(users, items, ratings)``.

        Raises
        ------
        ValueError, TypeError
            If a parameter or an argument is unusable; before any training.
        """
        self._check_parameters()
        device, dtype = torch.device(self.device), getattr(torch, self.dtype)
        data = as_ratings(users, items, ratings)
        labels = positives(data, self.threshold)
        check_both_classes(labels, self.threshold)
        streams = Streams(self.random_state)
        held_out, judges = validation_pairs(
            self.validation, self.validation_fraction, data, validation_ratings, streams
        )

        space = PairSpace(data, labels, held_out, dtype=dtype, device=device)
        self.n_users_, self.n_items_ = data.n_users, data.n_items
        self.density_, self.observed_ = space.density, data
        self._prepare(space, streams)
        trained = np.delete(labels, held_out) if held_out is not None else labels
        self.model_ = self._network(space, streams.torch("init"), dtype=dtype, base_rate=float(trained.mean())).to(
            device
        )
        self.history_ = train(
            self.model_,
            self._terms,
            self._batches(space, streams),
            epochs=self.epochs,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            validate=None if judges is None else log_loss(self.model_, judges, self.threshold),
            patience=self.patience,
            progress=self.progress,
            description=self.name or type(self).__name__,
            callbacks=[self._diagnose],
        )
        self._conclude()
        return self

    # ------------------------------------------------------------------ after fit

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
        exclude : "observed", None or array of item ids
            Items to leave out: those the user has rated in the fitted data, none, or the given ones. Fewer
            than ``k`` items come back if fewer are left. Equal scores: the lower item id first.
        """
        check_is_fitted(self, "model_")
        user = int(check_ids("user", user, self.n_users_)[0])
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
        users, items = check_pairs(users, items, self.n_users_, self.n_items_)
        pieces = []
        with torch.no_grad():
            for start in range(0, max(len(users), 1), _CHUNK):
                part = slice(start, start + _CHUNK)
                u, i = (torch.from_numpy(array[part]).to(self.device) for array in (users, items))
                pieces.append(function(u, i).cpu().numpy())
        return np.concatenate(pieces)
