"""What one step does: terms, their sum, the gradient of the parameters it trains, an optimiser's update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wbm_ext.training.distributed import sum_gradients, sum_over_ranks

Step = Callable[[Any], Mapping[str, torch.Tensor]]


@dataclass(kw_only=True, eq=False)
class Phase:
    """One of several updates that every batch brings, with parameters and an optimiser of its own.

    Only ``parameters`` get a gradient from the phase's terms, whatever else they depend on: what belongs to
    another phase acts as a constant here, without a ``detach``. The phases of a batch run in order, and a later
    one sees what the earlier ones have changed.

    Parameters
    ----------
    name : str
        Unlike those of the other phases; names the optimiser in checkpoints.
    step : callable, batch -> {name: scalar tensor}
        As in :func:`wbm_ext.training.train`. Term names must differ between phases, since all of them go into one
        record an epoch. Without a term the phase leaves this batch out.
    parameters : nn.Module or iterable of nn.Parameter
        What the phase trains; parts of the ``model`` given to ``train``. Two phases may share parameters.
    optimizer : torch.optim.Optimizer, optional
        Over ``parameters``. Default: Adam.
    lr, weight_decay : float, optional
        Of the default optimiser; left out, those given to ``train``.

    Examples
    --------
    Joint learning: the prediction model sees the imputation as it is, then the imputation follows.

    >>> import torch
    >>> from torch import nn
    >>> from wbm_ext.training import Phase, train
    >>> model = nn.ParameterDict({"prediction": torch.tensor(0.0), "imputation": torch.tensor(4.0)})
    >>> def difference(batch):
    ...     return (model["prediction"] - model["imputation"]) ** 2
    >>> def phase(name):
    ...     own = [model[name]]
    ...     optimizer = torch.optim.SGD(own, lr=0.25)
    ...     return Phase(name=name, step=lambda b: {name: difference(b)}, parameters=own, optimizer=optimizer)
    >>> history = train(model, [phase("prediction"), phase("imputation")], [0], epochs=1)
    >>> [(name, value.item()) for name, value in sorted(model.items())]
    [('imputation', 3.0), ('prediction', 2.0)]
    >>> history.column("imputation")
    [4.0]
    """

    name: str
    step: Step
    parameters: nn.Module | Iterable[nn.Parameter]
    optimizer: torch.optim.Optimizer | None = None
    lr: float | None = None
    weight_decay: float | None = None


class Update:
    """A phase made ready: its optimiser, the parameters it trains, whether their gradients are summed over ranks."""

    def __init__(self, name: str, step: Step, optimizer: torch.optim.Optimizer) -> None:
        self.name, self.step, self.optimizer, self.data_parallel = name, step, optimizer, False
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def _clear(self) -> None:
        """``optimizer.zero_grad(set_to_none=True)``; torch's own costs as much in its profiler's entries as a layer."""
        if type(self.optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            self.optimizer.zero_grad(set_to_none=True)
            return
        for parameter in self.parameters:
            parameter.grad = None

    def __call__(self, batch: Any) -> dict[str, torch.Tensor]:
        """Take one step on ``batch``; return its terms, detached."""
        terms = self.step(batch)
        if not isinstance(terms, dict | Mapping):
            raise TypeError(f"step must return {{name: scalar tensor}}; got {type(terms).__name__}")
        if terms:
            loss = _total(terms)
            self._clear()
            trained = [parameter for parameter in self.parameters if parameter.requires_grad]
            if loss.requires_grad and trained:
                loss.backward(inputs=trained)
                if self.data_parallel:
                    sum_gradients(trained)
                self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}


def _total(terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The sum of scalars; one or two of them, the common case, without a detour through a vector.

    Raises
    ------
    TypeError, ValueError
        A term that is no tensor, or one of several values; names it.
    """
    scalars = []
    for name, term in terms.items():
        if not isinstance(term, torch.Tensor):
            raise TypeError(f"step must return {{name: scalar tensor}}; got {type(term).__name__} for {name!r}")
        if term.numel() != 1:
            raise ValueError(f"the loss term {name!r} must be a scalar tensor; got shape {tuple(term.shape)}")
        scalars.append(term.reshape(()) if term.dim() else term)
    if len(scalars) > 2:
        return torch.stack(scalars).sum()
    return scalars[0] if len(scalars) == 1 else scalars[0] + scalars[1]


def as_updates(
    model: nn.Module,
    step: Step | Sequence[Phase],
    optimizer: torch.optim.Optimizer | None,
    lr: float,
    weight_decay: float,
) -> list[Update]:
    """Return the updates of a batch, in order: one for a callable ``step``, one a phase otherwise.

    Raises
    ------
    TypeError
        ``step`` is neither, or ``model`` no module, or ``optimizer`` none; or it is given beside phases, which have
        their own.
    ValueError
        There is no phase, a name occurs twice, a phase trains nothing or something that is not in ``model``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer; got {getattr(optimizer, '__name__', optimizer)!r}")
    if callable(step):
        return [Update("step", step, optimizer or _adam(model.parameters(), lr, weight_decay))]
    if not isinstance(step, Sequence) or not all(isinstance(phase, Phase) for phase in step):
        raise TypeError(f"step must be a callable or a sequence of Phase; got {type(step).__name__}")
    if optimizer is not None:
        raise TypeError("optimizer is for a single step; give each Phase its own")
    names = [phase.name for phase in step]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"step must hold at least one Phase, each with a name of its own; got the names {names}")
    owned = {id(parameter) for parameter in model.parameters()}
    updates = []
    for phase in step:
        parameters = phase.parameters
        parameters = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
        chosen = phase.optimizer or _adam(
            parameters,
            lr if phase.lr is None else phase.lr,
            weight_decay if phase.weight_decay is None else phase.weight_decay,
            phase.name,
        )
        update = Update(phase.name, phase.step, chosen)
        foreign = len({id(parameter) for parameter in [*parameters, *update.parameters]} - owned)
        if foreign:
            raise ValueError(
                f"phase {phase.name!r} trains {foreign} parameters that are not in model, so that neither the best "
                "epoch nor a checkpoint would hold them; put all networks into one module, say nn.ModuleDict"
            )
        if {id(parameter) for parameter in parameters} != {id(parameter) for parameter in update.parameters}:
            raise ValueError(
                f"phase {phase.name!r}: optimizer must be over the phase's parameters, no more and no less"
            )
        updates.append(update)
    return updates


def take_step(updates: Sequence[Update], batch: Any) -> dict[str, torch.Tensor]:
    """Run the updates on ``batch`` in order; return all terms.

    Raises
    ------
    ValueError
        If there is no term at all, two phases give terms of one name, or a name is one of the record's own.
    """
    terms: dict[str, torch.Tensor] = {}
    for update in updates:
        own = update(batch)
        twice = terms.keys() & own.keys()
        taken = own.keys() & {"epoch", "loss", "validation", "seconds"}
        if taken:
            raise ValueError(f"a loss term must not be named {min(taken)!r}: the record of an epoch has that name")
        if twice:
            raise ValueError(f"phase {update.name!r} returned the term {min(twice)!r}, which an earlier phase has")
        terms.update(own)
    if not terms:
        raise ValueError("step returned no loss term")
    return terms


def mean_terms(
    values: Sequence[Mapping[str, torch.Tensor]], epoch: int, *, data_parallel: bool = False
) -> dict[str, float]:
    """Average the terms (their sums over the ranks) over the steps of an epoch; raise at the first not finite."""
    if not values:
        raise ValueError(f"batches yielded nothing in epoch {epoch}; it must be iterable once an epoch")
    names = list(dict.fromkeys(name for value in values for name in value))
    record: dict[str, float] = {"epoch": float(epoch), "loss": 0.0}
    first: tuple[int, str, float] | None = None
    for name in names:
        series = [(index, value[name]) for index, value in enumerate(values) if name in value]
        stacked = torch.stack([term.reshape(()) for _, term in series]).double()
        stacked = (sum_over_ranks(stacked) if data_parallel else stacked).cpu()
        bad = torch.nonzero(~torch.isfinite(stacked)).flatten()
        if len(bad) and (first is None or series[int(bad[0])][0] < first[0]):
            first = (series[int(bad[0])][0], name, float(stacked[bad[0]]))
        record[name] = float(stacked.mean())
        record["loss"] += float(stacked.sum()) / len(values)
    if first is not None:
        index, name, value = first
        raise FloatingPointError(
            f"loss term {name!r} became {value} in epoch {epoch}, step {index + 1} of {len(values)}; "
            "a smaller learning rate or stronger clipping usually helps"
        )
    return record


def finite_validation(value: float, epoch: int) -> float:
    """Return ``value``, or raise FloatingPointError if it is NaN or infinite."""
    if not math.isfinite(value):
        raise FloatingPointError(f"the validation value became {value} in epoch {epoch}")
    return value


def _adam(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, phase: str = "step"
) -> torch.optim.Optimizer:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ValueError(f"phase {phase!r} has no parameter that requires a gradient")
    return torch.optim.Adam(trained, lr=lr, weight_decay=weight_decay, fused=True)
