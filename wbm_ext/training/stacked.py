"""Several seeds of one system, trained side by side: every parameter has a leading axis of seeds.

Small networks on small batches spend their time on the overhead of each operation, not on arithmetic; K seeds in one
stack share it. The seeds do not touch: the objective is the sum of their losses, so that the gradient of a seed's slice
is that of its own loss, and Adam, SGD and weight decay act elementwise. (An optimiser or a clipping by the norm of all
parameters would not.) Seed s ends as it would alone, up to rounding: products of matrices are batched.

What has to be written for it: batches with a leading axis of seeds, (K, B, ...), hence of one length for all seeds,
and losses that keep that axis and give (K,). The networks need nothing: :class:`Stack` maps any function of a single
network over the seeds by ``torch.func.vmap``. A loss that cannot be written so (groups of another size in each seed)
takes the seeds in turn; or its groups become masks, since :func:`wbm_ext.solve` takes batches of problems and zero
masses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from wbm_ext.training.callbacks import Callback, Function
from wbm_ext.training.history import History
from wbm_ext.training.loop import train

Record = dict[str, float]


class _Call(nn.Module):
    """A function of a network, as a module: what ``functional_call`` can call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        return function(self.network, *inputs)


class Stack(nn.Module):
    """K networks of one architecture as one module, whose parameters and buffers have shape (K, ...).

    Parameters
    ----------
    networks : sequence of nn.Module
        They keep their own parameters until :meth:`write_back`.

    Raises
    ------
    ValueError
        If there is none, or they differ in their parameters' names or shapes.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from wbm_ext.training.stacked import Stack
    >>> stack = Stack([nn.Linear(3, 2) for _ in range(4)])
    >>> stack(lambda layer, x: layer(x).relu(), torch.ones(4, 7, 3)).shape
    torch.Size([4, 7, 2])
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in networks]
        if not networks or any(other != shapes[0] for other in shapes):
            raise ValueError("networks must be at least one, all with parameters of the same names and shapes")
        # tuples, so that these are no submodules: they are the form, the stacked parameters the content
        self.networks = tuple(networks)
        self._calls = (_Call(networks[0]),)
        parameters, buffers = stack_module_state(list(networks))
        self.names = {name.replace(".", "/"): name for name in (*parameters, *buffers)}
        for name, value in parameters.items():
            wanted = dict(networks[0].named_parameters())[name].requires_grad
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach(), requires_grad=wanted))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value)

    def __len__(self) -> int:
        return len(self.networks)

    def train(self, mode: bool = True) -> Stack:
        """Set the mode of the stack, and of the network that is mapped over the seeds."""
        super().train(mode)
        self._calls[0].train(mode)
        return self

    def forward(self, function: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        """Return ``function(network, *inputs)`` for every seed; inputs and outputs have shape (K, ...)."""
        state = {f"network.{self.names[name]}": value for name, value in self.state_dict(keep_vars=True).items()}

        def one(state: dict[str, torch.Tensor], *inputs: torch.Tensor) -> Any:
            return functional_call(self._calls[0], state, (function, *inputs))

        return vmap(one, randomness="different")(state, *inputs)

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy each seed's slice into its network."""
        for seed, network in enumerate(self.networks):
            network.load_state_dict({self.names[name]: value[seed] for name, value in self.state_dict().items()})


class _Judge(Callback):
    """A history and a best state for each seed; ends the run when every seed has lost patience."""

    def __init__(
        self,
        stack: Stack,
        validate: Callable[[], Sequence[float]] | None,
        patience: int,
        min_epochs: int,
        diagnose: Callable[[int, list[Record]], Any] | None,
    ) -> None:
        self.stack, self.validate, self.diagnose = stack, validate, diagnose
        self.patience, self.min_epochs = patience, min_epochs
        self.histories = [History() for _ in range(len(stack))]
        self.best = {name: value.detach().clone() for name, value in stack.state_dict().items()}
        self.values: list[dict[str, torch.Tensor]] = []

    @property
    def running(self) -> torch.Tensor:
        """Which seeds still train, bool (K,)."""
        return torch.tensor([history.stopped == "epochs" for history in self.histories])

    def total(self, terms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Note the terms (K,) of a step; return their sums over the seeds that still train."""
        for name, term in terms.items():
            if term.shape != (len(self.stack),):
                raise ValueError(
                    f"term {name!r} must have a value a seed, shape ({len(self.stack)},); got {tuple(term.shape)}"
                )
        self.values.append({name: term.detach() for name, term in terms.items()})
        return {name: term[self.running.to(term.device)].sum() for name, term in terms.items()}

    @torch.no_grad()
    def on_epoch_start(self, epoch: int) -> None:
        self.values.clear()
        # a seed that has stopped stays at its best state, where its losses are finite
        done = (~self.running).nonzero().flatten()
        for name, value in self.stack.state_dict().items():
            value[done] = self.best[name][done]

    def on_epoch_end(self, epoch: int, record: Record) -> bool:
        records = self._records(epoch)
        if self.validate is not None:
            values = [float(value) for value in self.validate()]
            if len(values) != len(self.stack):
                raise ValueError(f"validate must return a value a seed, {len(self.stack)}; got {len(values)}")
            for own, value in zip(records, values, strict=True):
                own["validation"] = value
        if self.diagnose is not None:
            self.diagnose(epoch, records)
        for seed, (history, own) in enumerate(zip(self.histories, records, strict=True)):
            if history.stopped != "epochs":
                continue
            judged = own.get("validation")
            if judged is not None and not math.isfinite(judged):
                raise FloatingPointError(f"the validation value of seed {seed} became {judged} in epoch {epoch}")
            history.records.append(own)
            if history.take_validation(epoch, judged, self.patience, self.min_epochs):
                for name, tensor in self.stack.state_dict().items():
                    self.best[name][seed] = tensor[seed]
        record["running"] = float(self.running.sum())
        return not bool(self.running.any())

    def _records(self, epoch: int) -> list[Record]:
        means = {
            name: torch.stack([value[name] for value in self.values if name in value]).double().mean(0).cpu()
            for name in dict.fromkeys(name for value in self.values for name in value)
        }
        losses = torch.stack([sum(value.values(), torch.zeros(())).double().cpu() for value in self.values]).mean(0)
        return [
            {"epoch": float(epoch), "loss": float(losses[seed]), **{name: float(m[seed]) for name, m in means.items()}}
            for seed in range(len(self.stack))
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"histories": [asdict(history) for history in self.histories], "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.histories = [History(**fields) for fields in state["histories"]]
        self.best = {name: value.to(self.best[name].device) for name, value in state["best"].items()}


def train_stacked(
    networks: Sequence[nn.Module],
    step: Callable[[Stack, Any], Mapping[str, torch.Tensor]],
    batches: Iterable[Any],
    *,
    epochs: int,
    validate: Callable[[Stack], Sequence[float]] | None = None,
    patience: int = 5,
    min_epochs: int = 1,
    diagnose: Callable[[int, list[Record]], Any] | None = None,
    callbacks: Sequence[Callback | Function] = (),
    **options: Any,
) -> list[History]:
    """Train K networks of one architecture side by side, each as :func:`wbm_ext.training.train` would train it.

    Parameters
    ----------
    networks : sequence of nn.Module
        One a seed, initialised; they hold the result at the end.
    step : callable, (stack, batch) -> {name: Tensor (K,)}
        The named loss terms of each seed.
    batches : iterable
        Of batches for all seeds at once, (K, B, ...).
    validate : callable, stack -> K floats
        After each epoch, without gradients. Every seed has its own best epoch and its own early stop; one that
        has stopped is held while the others go on.
    diagnose : callable (epoch, records) -> None
        May add figures to the K records of an epoch.
    callbacks
        As in ``train``; ``record`` holds the sums over the seeds that still train.
    options
        Further arguments of ``train``: lr, weight_decay, checkpoint, resume, log, progress, ...

    Returns
    -------
    list of History
        One a seed, as if it had been alone; ``seconds`` is the wall time of all.
    """
    stack = Stack(networks)
    judge = _Judge(stack, None if validate is None else lambda: validate(stack), patience, min_epochs, diagnose)
    configuration = {"seeds": len(stack), "stacked": [patience, min_epochs], **options.pop("configuration", {})}
    history = train(
        stack,
        lambda batch: judge.total(step(stack, batch)),
        batches,
        epochs=epochs,
        callbacks=[judge, *callbacks],
        configuration=configuration,
        **options,
    )
    if validate is not None:
        stack.load_state_dict(judge.best)
    stack.write_back()
    for network, own in zip(networks, judge.histories, strict=True):
        network.eval()
        own.seconds = history.seconds
    return judge.histories
