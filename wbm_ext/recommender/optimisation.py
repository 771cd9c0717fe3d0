"""How a recommender's loss terms become updates of its networks: one update a batch, or several in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from wbm_ext.datasets import Ratings
from wbm_ext.recommender.sampling import Batch
from wbm_ext.recommender.validation import judgement
from wbm_ext.training import Attributes, Callback, History, Phase, Run, distributed, train

Function = Callable[[int, dict[str, float]], Any]
Outputs = dict[str, torch.Tensor]
Terms = dict[str, torch.Tensor]
Step = Callable[[Batch], Terms]


class Optimised:
    """The training of a recommender; a subclass brings parameters, networks and ``_losses``."""

    name: ClassVar[str] = ""
    phases: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Updates that each batch brings, in order: part of the network that learns -> terms it minimises. "prediction" is
    what belongs to no other part. Empty: one update of everything on all terms."""
    counters: ClassVar[tuple[str, ...]] = ()
    """Attributes that training counts up."""

    model_: Any
    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    threshold: float
    progress: bool
    validation_metric: str
    _judges: Ratings | None
    _run: Run

    def _outputs(self, batch: Batch) -> Outputs:
        """Return what the networks give for each pair of a batch; the first axis is that of the pairs."""
        return {"logit": self.model_(batch.users, batch.items)}

    def _losses(self, batch: Batch, out: Outputs) -> Terms:
        """Return the named loss terms of a batch from the networks' outputs alone; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} gives no loss")

    def _weight_decays(self) -> dict[str, float]:
        """Return the weight decay of those parts of ``model_`` that have one of their own."""
        return {}

    def _terms(self, batch: Batch) -> Terms:
        """Return all loss terms of a batch."""
        return self._on_whole_batch(batch, self._outputs, self._losses)

    @staticmethod
    def _on_whole_batch(
        batch: Batch,
        outputs: Callable[[Batch], Outputs],
        losses: Callable[[Batch, Outputs], Terms],
    ) -> Terms:
        """Run the networks on this process's share of the batch, and compute the losses on all of it."""
        gathered = distributed.gather_batch(outputs(distributed.shard(batch)), len(batch.users))
        return {name: distributed.share(term) for name, term in losses(batch, gathered).items()}

    def _steps(self) -> Step | list[Phase]:
        """Return what a batch brings: one update, or those of ``phases``."""
        if not self.phases:
            return self._terms
        decays = self._weight_decays()
        parts: dict[str, list[nn.Parameter]] = {part: [] for part in self.phases}
        for name, parameter in self.model_.named_parameters():
            part = name.partition(".")[0]
            parts[part if part in parts else "prediction"].append(parameter)

        def only(names: tuple[str, ...]) -> Step:
            def step(batch: Batch) -> Terms:
                terms = self._terms(batch)
                return {name: terms[name] for name in names}

            return step

        return [
            Phase(name=part, step=only(names), parameters=parts[part], weight_decay=decays.get(part))
            for part, names in self.phases.items()
        ]

    def _train(
        self,
        model: nn.Module,
        step: Step | list[Phase],
        batches: Iterable[Batch],
        *,
        callbacks: Sequence[Callback | Function] = (),
        stage: str = "",
    ) -> History:
        """Train a model of P(positive) by the one loop, judged on the pairs that ``validation`` names."""
        judges = self._judges
        return train(
            model,
            step,
            batches,
            epochs=self.epochs,
            optimizer=self._optimizer(model) if callable(step) else None,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            validate=None if judges is None else judgement(self.validation_metric, model, judges, self.threshold),
            patience=self.patience,
            progress=self.progress,
            description=" ".join([self.name or type(self).__name__, stage]).strip(),
            callbacks=callbacks,
            data_parallel=True,
            **self._run.options(stage, **({} if stage else {"counters": Attributes(self, self.counters)})),
        )

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer | None:
        """Return Adam with a group for each part that has a weight decay of its own; None if there is none."""
        decays = {part: decay for part, decay in self._weight_decays().items() if decay != self.weight_decay}
        if not decays:
            return None
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            part = name.partition(".")[0]
            groups.setdefault(part if part in decays else "", []).append(parameter)
        return torch.optim.Adam(
            [{"params": group, "weight_decay": decays.get(part, self.weight_decay)} for part, group in groups.items()],
            lr=self.learning_rate,
            fused=True,
        )
