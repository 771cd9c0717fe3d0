"""Networks that a file can describe: the class by its registered name, the constructor's arguments, the state."""

from __future__ import annotations

import inspect
from typing import Any, Self

import torch
from torch import nn

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


def _describe(network: Network) -> dict[str, Any]:
    return {
        "arguments": network._arguments,
        "generators": network._generators,
        "state": dict(network.state_dict()),
        "training": network.training,
    }
