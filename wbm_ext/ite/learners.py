"""Networks on factual outcomes alone: the S- and T-learner, and TARNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from wbm_ext.ite.defaults import default
from wbm_ext.ite.neural import NeuralEstimator

_BOTH = (*default("representation"), *default("heads"))


@dataclass(kw_only=True, eq=False, repr=False)
class SLearner(NeuralEstimator):
    """One network on [x, t], asked with t = 0 and t = 1 (Künzel et al. 2019).

    Parameters: :class:`~wbm_ext.ite.neural.NeuralEstimator`.
    """

    representation: Sequence[int] = ()
    heads: Sequence[int] = _BOTH
    activation: str = "leaky_relu"

    name: ClassVar[str] = "s-learner"
    _shared_head: ClassVar[bool] = True


@dataclass(kw_only=True, eq=False, repr=False)
class TLearner(NeuralEstimator):
    """Two networks on x, one a treatment group (Künzel et al. 2019).

    They share the optimiser and the chosen epoch; nothing else. Parameters:
    :class:`~wbm_ext.ite.neural.NeuralEstimator`.
    """

    representation: Sequence[int] = ()
    heads: Sequence[int] = _BOTH
    activation: str = "leaky_relu"

    name: ClassVar[str] = "t-learner"


@dataclass(kw_only=True, eq=False, repr=False)
class TARNet(NeuralEstimator):
    """One representation, two heads: y^_t = φ_t(ψ(x)) (Shalit et al. 2017).

    Parameters: :class:`~wbm_ext.ite.neural.NeuralEstimator`.
    """

    name: ClassVar[str] = "tarnet"
