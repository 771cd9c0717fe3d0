"""Networks that a file can describe: the class by its registered name, the constructor's arguments, the state."""

from __future__ import annotations

import inspect
import math
from typing import Any, Self

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from wbm_ext.persistence.codec import register


class Network(nn.Module):
    """Base of the networks that fitted estimators hold.

    The arguments of the constructor are kept as they were given, so that a model file can build the network anew and
    fill in its state. They must be plain values, dtypes, generators (a fresh one is given on loading: the
    initial values are overwritten) or other networks.

    Every subclass is registered as ``<subpackage>.<class name>`` when it is defined.
    """

    _arguments: dict[str, Any]
    _generators: list[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        parts = cls.__module__.split(".")
        room = parts[1] if parts[0] == "wbm_ext" and len(parts) > 1 else parts[0]

        def rebuild(fields: dict[str, Any]) -> Network:
            fresh = {name: torch.Generator() for name in fields["generators"]}
            with _Bounded(fields["state"]):
                network = cls(**fields["arguments"], **fresh)
            network.load_state_dict(fields["state"])
            network.train(bool(fields["training"]))
            return network

        register(f"{room}.{cls.__name__}", cls, _describe, rebuild)

    def __new__(cls, *args: Any, **options: Any) -> Self:
        network = super().__new__(cls)
        # bind_partial: copy and pickle call __new__ without arguments and bring the attributes themselves
        signature = inspect.signature(cls.__init__)
        bound = signature.bind_partial(network, *args, **options)
        bound.apply_defaults()
        given = dict(list(bound.arguments.items())[1:])
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name, {}))
            elif parameter.kind is parameter.VAR_POSITIONAL and given.pop(parameter.name, ()):
                raise TypeError(f"{cls.__name__} must take its arguments by name to be saved; it has *{parameter.name}")
        generators = [name for name, value in given.items() if isinstance(value, torch.Generator)]
        network.__dict__["_generators"] = generators
        network.__dict__["_arguments"] = {name: value for name, value in given.items() if name not in generators}
        return network


class _Bounded(TorchFunctionMode):
    """Refuses tensors that a network of this state cannot need, before they are filled.

    A file could name sizes that it does not hold itself, and take all memory with a few bytes.
    """

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.largest = max((value.numel() for value in state.values()), default=0)
        self.calls = 1000 * (1 + len(state))  # of torch, while the network is made

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls -= 1
        sizes = args[0] if args and isinstance(args[0], tuple | list) else args
        if all(isinstance(size, int) for size in sizes):
            self._check(math.prod(sizes))
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self._check(result.numel())
        return result

    def _check(self, count: int) -> None:
        if count > max(self.largest, 1) or self.calls < 0:
            raise ValueError(f"its sizes ask for {count} values in one tensor; the file holds {self.largest} at most")


def _describe(network: Network) -> dict[str, Any]:
    return {
        "arguments": network._arguments,
        "generators": network._generators,
        "state": dict(network.state_dict()),
        "training": network.training,
    }
