"""Asymmetric tri-training: two recommenders agree on pseudo-labels for a third."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from wbm_ext.errors import check_name
from wbm_ext.recommender.entire_space import EntireSpace
from wbm_ext.recommender.objectives import cross_entropy, errors
from wbm_ext.recommender.parameters import check_number
from wbm_ext.recommender.sampling import Batch, PairSpace
from wbm_ext.recommender.two_stage import TwoStage
from wbm_ext.training import History, Streams


@dataclass(kw_only=True, eq=False, repr=False)
class ASIPS(TwoStage, EntireSpace):
    """Asymmetric tri-training over inverse propensity scoring.

    (i) Two ``ips`` recommenders A1 and A2 are trained, apart in initial values and batches. (ii) Of pairs sampled from
    D those with |A1 - A2| <= ``agreement`` are kept. (iii) The third, which predicts, learns A1's probability on them:
    L = mean over the kept pairs of BCE(r^, A1).

    Inverse propensity scoring with clipped weights, which is sometimes given this name, is ``ips`` with ``floor``.

    Parameters
    ----------
    agreement : float
        Largest difference of two probabilities that agree. The default has the lowest log loss on held-out biased
        pairs of Coat among .03, .1 and .3.
    difference : {"absolute", "signed"}
        "signed": A1 - A2 <= ``agreement``, as some public code has it; A1 may then be as much below A2 as it likes.

    Other parameters: see :class:`~wbm_ext.recommender.two_stage.TwoStage` and
    :class:`~wbm_ext.recommender.entire_space.EntireSpace`.

    Attributes
    ----------
    teachers_ : list of nn.Module
        A1 and A2.
    teacher_histories_ : list of History
    """

    agreement: float = 0.03
    difference: str = "absolute"

    name: ClassVar[str] = "as-ips"
    learnt: ClassVar[dict[str, Any]] = {"teachers_": list, "teacher_histories_": list}
    reference: ClassVar[str] = (
        "Saito, Asymmetric tri-training for debiasing missing-not-at-random explicit feedback, SIGIR 2020"
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("agreement", self.agreement, above=0)
        check_name("difference", self.difference, ["absolute", "signed"])

    def _prepare(self, space: PairSpace, streams: Streams) -> None:
        super()._prepare(space, streams)
        self.teachers_: list[nn.Module] = []
        self.teacher_histories_: list[History] = []
        for teacher in ("first", "second"):
            model = self._network(space, streams.torch(f"init-{teacher}"), base_rate=self.base_rate_).to(space.device)
            batches = self._batches(space, streams, prefix=f"{teacher}-")
            history = self._train(model, self._teach(model), batches, stage=teacher)
            self.teachers_.append(model.requires_grad_(False))
            self.teacher_histories_.append(history)

    def _teach(self, model: nn.Module) -> Callable[[Batch], dict[str, torch.Tensor]]:
        """Return the step of a teacher: inverse propensity scoring."""

        def outputs(batch: Batch) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                propensity = self._propensity(batch.users, batch.items)
            return {"logit": model(batch.users, batch.items), "q": propensity}

        def losses(batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"prediction": self._weighted(batch, errors(batch, out["logit"]), out["q"])}

        return lambda batch: self._on_whole_batch(batch, outputs, losses)

    def _outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            first, second = (torch.sigmoid(teacher(batch.users, batch.items)) for teacher in self.teachers_)
        return {**super()._outputs(batch), "first": first, "second": second}

    def _losses(self, batch: Batch, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        difference = out["first"] - out["second"]
        if self.difference == "absolute":
            difference = difference.abs()
        weight = batch.weight * (difference <= self.agreement)
        total = (weight * cross_entropy(out["logit"], out["first"])).sum()
        return {"prediction": total / weight.sum().clamp_min(torch.finfo(total.dtype).tiny)}
