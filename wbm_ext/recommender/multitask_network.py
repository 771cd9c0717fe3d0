"""One network with a head a task: prediction, propensity, imputation, on shared or separate embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from wbm_ext.recommender.networks import EMBEDDING_SCALE, AdditivePropensity, MatrixFactorization, Tower


class MultiTaskModel(MatrixFactorization):
    """Matrix factorisation as the prediction task, and further tasks beside it.

    Parameters
    ----------
    n_users, n_items, dim, generator, dtype, biases, base_rate, scale
        Of :class:`~wbm_ext.recommender.networks.MatrixFactorization`.
    rates : mapping, task -> float
        The further tasks, "propensity" and "imputation", with the probability that each gives at the start.
    propensity : {"tower", "mf"}
        "mf": a matrix factorisation with embeddings and biases of its own, whatever ``shared``.
    head : {"mf", "tower"}
        Prediction by <U_u, V_i> and biases, or by a :class:`~wbm_ext.recommender.networks.Tower` on [U_u; V_i].
    shared : bool
        True: the further tasks are towers on the embeddings of the prediction. False: they have embeddings of their
        own, the propensity as :class:`~wbm_ext.recommender.networks.AdditivePropensity`, the imputation as a matrix
        factorisation.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        *,
        generator: torch.Generator,
        rates: Mapping[str, float],
        dtype: torch.dtype = torch.float32,
        biases: bool = True,
        base_rate: float = 0.5,
        scale: float = EMBEDDING_SCALE,
        head: str = "mf",
        shared: bool = True,
        propensity: str = "tower",
    ) -> None:
        biases = biases and head == "mf"
        sizes = (n_users, n_items, dim)
        super().__init__(*sizes, generator=generator, dtype=dtype, biases=biases, base_rate=base_rate, scale=scale)
        self.tasks = tuple(rates)
        for task, rate in rates.items():
            module: nn.Module
            if task == "propensity" and propensity == "mf":
                module = MatrixFactorization(*sizes, generator=generator, dtype=dtype, base_rate=rate, scale=scale)
            elif shared:
                module = Tower(dim, generator=generator, dtype=dtype, base_rate=rate)
            elif task == "propensity":
                module = AdditivePropensity(*sizes, generator=generator, dtype=dtype, base_rate=rate)
            else:
                module = MatrixFactorization(
                    *sizes, generator=generator, dtype=dtype, biases=biases, base_rate=rate, scale=scale
                )
            self.add_module(task, module)
        if head == "tower":
            self.prediction = Tower(dim, generator=generator, dtype=dtype, base_rate=base_rate)
        self.head = head

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the logits of a positive rating, shape (B,)."""
        if self.head == "tower":
            return self.prediction(self.representation(users, items))
        return super().forward(users, items)

    def task(self, name: str, users: torch.Tensor, items: torch.Tensor, *, detach: bool = False) -> torch.Tensor:
        """Return the logits of a further task, shape (B,).

        ``detach``: a tower reads sg([U_u; V_i]), so that only the tower learns. A task with embeddings of its own
        shares nothing that could be held.
        """
        module = self.get_submodule(name)
        if not isinstance(module, Tower):
            return module(users, items)
        representation = self.representation(users, items)
        return module(representation.detach() if detach else representation)
