"""The estimator all recommenders share: parameters, one ``fit``, and what can be asked afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from wbm_ext.datasets import Ratings
from wbm_ext.errors import check_name
from wbm_ext.parameters import check_memory
from wbm_ext.persistence import Saveable, register
from wbm_ext.recommender.arguments import as_ratings, check_both_classes, positives
from wbm_ext.recommender.networks import EMBEDDING_SCALE, MatrixFactorization
from wbm_ext.recommender.optimisation import Function, Optimised
from wbm_ext.recommender.parameters import check_device, check_flag, check_integer, check_number
from wbm_ext.recommender.queries import Queries
from wbm_ext.recommender.sampling import Batch, ObservedBatches, PairSpace
from wbm_ext.recommender.validation import validation_pairs
from wbm_ext.training import Callback, History, Run, Streams, distributed, fingerprint
from wbm_ext.training.callbacks import check_callbacks
from wbm_ext.training.seeding import Seed

register(  # model files hold the fitted ratings: recommend() leaves out what a user has rated
    "datasets.Ratings",
    Ratings,
    lambda ratings: {part.name: getattr(ratings, part.name) for part in fields(ratings)},
    lambda parts: Ratings(**parts),
)


@dataclass(kw_only=True, eq=False, repr=False)
class Recommender(Queries, Optimised, Saveable, BaseEstimator):
    """Base of all systems: a model of P(rating >= threshold | user, item), trained by one loop.

    A system gives its loss terms (``_losses``) and, where they differ from plain matrix factorisation on
    observed pairs, its network, what it gives (``_outputs``), its batches and its propensities. A system that
    alternates names its ``phases``.

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
        What decides the best epoch: ``validation_metric`` on ``validation_fraction`` of the observed pairs, held
        out at random; on the ``validation_ratings`` given to ``fit`` (pairs at random, never those to be
        reported); or nothing, and the last epoch is kept. It is unweighted in every system: an
        inverse-propensity weighted loss would move with the propensities it is meant to judge, and rests
        on few pairs.
    validation_fraction : float
        Share of the observed pairs that ``validation="biased"`` holds out.
    patience : int
        Epochs without a better validation value before training stops.
    threshold : float
        y = 1[rating >= threshold].
    random_state : int, None or a generator of torch or numpy
        Hold-out, initial values and batches; the global generators are neither used nor changed.
    progress : bool
        Show a bar over the epochs.
    device : str
        Where to train, e.g. "cpu" or "cuda".
    dtype : {"float32", "float64"}
        Of parameters and losses.
    biases : bool
        Give the matrix factorisation biases of users, items and all; without them it is <U_u, V_i> alone.
    embedding_scale : float
        Standard deviation of the initial embeddings.
    validation_metric : {"log_loss", "auc"}
        What ``validation`` measures: the log loss, or 1 - AUC.

    Attributes
    ----------
    model_ : nn.Module
    history_ : History
        One record an epoch: each loss term, validation value, diagnostics.
    n_users_, n_items_ : int
    density_, base_rate_ : float
        |O| / |D|; share of positive ratings in training.
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
    random_state: Seed = None
    progress: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    biases: bool = True
    embedding_scale: float = EMBEDDING_SCALE
    validation_metric: str = "log_loss"

    room: ClassVar[str] = "recommender"
    name: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    learnt: ClassVar[dict[str, Any]] = {
        **{"model_": nn.Module, "history_": History, "observed_": Ratings},
        **{"n_users_": int, "n_items_": int, "density_": float, "base_rate_": float},
    }

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
        check_flag("biases", self.biases)
        check_number("embedding_scale", self.embedding_scale, above=0)
        check_name("validation_metric", self.validation_metric, ["log_loss", "auc"])

    def _network(self, space: PairSpace, generator: torch.Generator, *, base_rate: float) -> nn.Module:
        sizes = (space.n_users, space.n_items, self.embedding_dim)
        return MatrixFactorization(*sizes, base_rate=base_rate, **self._network_options(generator))

    def _network_options(self, generator: torch.Generator) -> dict[str, Any]:
        return {
            "generator": generator,
            "dtype": getattr(torch, self.dtype),
            "biases": self.biases,
            "scale": self.embedding_scale,
        }

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        """Do what comes before the training of the model (a propensity stage, say)."""

    def _batches(self, space: PairSpace, streams: Streams) -> Iterable[Batch]:
        return ObservedBatches(space, self.batch_size, generator=streams.torch("batches"))

    def _diagnose(self, epoch: int, record: dict[str, float]) -> None:
        """Add figures to an epoch's record."""

    def _conclude(self) -> None:
        """Look back on the finished training (warnings)."""

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        users: Any = None,
        items: Any = None,
        ratings: Any = None,
        *,
        validation_ratings: Ratings | None = None,
        callbacks: Sequence[Callback | Function] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool | str | os.PathLike[str] = False,
        log: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit to a :class:`~wbm_ext.datasets.Ratings`, ``fit(data)``, or to ``fit(users, items, ratings)``.

        Under ``torchrun`` every process makes the same call: each runs the networks on its share of a batch, the
        losses are those of the whole batch, and all end with the same model, that of one process with the same seed.

        Parameters
        ----------
        validation_ratings : Ratings, optional
            The pairs that judge, for ``validation="unbiased"``.
        callbacks : sequence of :class:`~wbm_ext.training.Callback` or of callables (epoch, record)
            Called after each epoch of the recommender itself; may add figures to its record in ``history_``, or
            return True to end the training.
        checkpoint : path, optional
            File that holds the run after every ``checkpoint_every``-th epoch; earlier stages stand beside it as
            ``<checkpoint>.<stage>``.
        resume : bool or path
            True: go on from ``checkpoint`` if it is there; a path: from that file. With the same data and parameters
            the fit ends bit for bit where an uninterrupted one ends. ``epochs`` may have grown in systems of a
            single stage.
        log : path, optional
            File of JSON lines, one an epoch of the recommender itself; earlier stages have ``<log>.<stage>``.

        Raises
        ------
        ValueError, TypeError
            If a parameter or an argument is unusable, or the checkpoint belongs to other parameters or data; before
            any training.
        """
        self._check_parameters()
        check_integer("checkpoint_every", checkpoint_every)
        check_callbacks(callbacks)
        distributed.start(self.device)
        device, dtype = distributed.local_device(self.device), getattr(torch, self.dtype)
        data = as_ratings(users, items, ratings)
        check_memory(
            f"embeddings of {data.n_users} users and {data.n_items} items with embedding_dim={self.embedding_dim}",
            (data.n_users + data.n_items) * (self.embedding_dim + 1),
        )
        labels = positives(data, self.threshold)
        check_both_classes(labels, self.threshold)
        if validation_ratings is not None and not isinstance(validation_ratings, Ratings):
            got = type(validation_ratings).__name__
            raise TypeError(f"validation_ratings must be a wbm_ext.datasets.Ratings; got {got}")
        self._run = Run(
            self.random_state,
            configuration=self._configuration(data, validation_ratings),
            epochs=self.epochs,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
            log=log,
        )
        streams = self._run.streams
        held_out, self._judges = validation_pairs(
            self.validation, self.validation_fraction, data, validation_ratings, streams
        )

        space = PairSpace(data, labels, held_out, dtype=dtype, device=device)
        self.n_users_, self.n_items_ = data.n_users, data.n_items
        self.density_, self.observed_ = space.density, data
        trained = np.delete(labels, held_out) if held_out is not None else labels
        self.base_rate_ = float(trained.mean())
        self._prepare(space, streams)
        self.model_ = self._network(space, streams.torch("init"), base_rate=self.base_rate_).to(device)
        batches = self._batches(space, streams)
        self.history_ = self._train(self.model_, self._steps(), batches, callbacks=[self._diagnose, *callbacks])
        self._conclude()
        del self._judges, self._run
        return self

    def _configuration(self, data: Ratings, judges: Ratings | None) -> dict[str, Any]:
        """Return what must be the same for a fit to go on; the random state is told by its streams."""
        free = ("epochs", "progress", "device", "random_state")
        params = {name: value for name, value in self.get_params().items() if name not in free}
        prints = {
            name: None
            if part is None
            else fingerprint(part.users, part.items, part.ratings, (part.n_users, part.n_items))
            for name, part in (("data", data), ("judges", judges))
        }
        return {"system": self.name, "params": params, **prints}
