"""The unit of a study: one system on one data set with given parameters and one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from wbm_ext.errors import check_name

PURPOSES = ("report", "search")


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes
    ----------
    system, data : str
    seed : int
    params : mapping
        Of the system; plain values.
    data_params : mapping
        Of the reader or generator: what is drawn, which realisation; plain values.
    purpose : {"report", "search"}
        "search": only the validation value is asked for. ``evaluate`` must not look at what is reported.

    Raises
    ------
    TypeError
        A parameter that JSON cannot hold.
    UnknownNameError
        Another purpose.
    """

    system: str
    data: str
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)
    data_params: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = "report"

    def __post_init__(self) -> None:
        check_name("purpose", self.purpose, PURPOSES)
        try:
            canonical(self.content())
        except (TypeError, ValueError) as error:
            raise TypeError(f"params and data_params must be plain finite values, as in JSON; {error}") from None

    def __hash__(self) -> int:
        return hash(self.key())

    def content(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self) | {"params": dict(self.params), "data_params": dict(self.data_params)}

    def key(self, context: Mapping[str, Any] | None = None) -> str:
        """Hash of the content and of what else the result depends on: equal runs have equal keys."""
        return digest({"cell": self.content(), "context": dict(context or {})})

    @property
    def group(self) -> str:
        """System and data set: cells that take about the same time."""
        return f"{self.system} on {self.data}"

    @property
    def setting(self) -> str:
        """Everything but the seed, as text: the cells of a setting are averaged."""
        return canonical({name: value for name, value in self.content().items() if name != "seed"})

    def at(self, seed: int) -> Cell:
        """The same with another seed."""
        return replace(self, seed=seed)

    def using(self, **params: Any) -> Cell:
        """The same with more parameters of the system."""
        return replace(self, params={**self.params, **params})

    def label(self) -> str:
        """Short text for messages."""
        parts = [f"{name}={value}" for name, value in {**self.data_params, **self.params}.items()]
        return ", ".join([self.group, *parts, f"seed {self.seed}"])


def canonical(content: Mapping[str, Any]) -> str:
    """JSON with sorted keys: one text for equal contents."""
    return json.dumps(content, sort_keys=True, allow_nan=False)


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical text, 16 hexadecimal digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]
