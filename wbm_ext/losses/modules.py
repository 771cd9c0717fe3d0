"""``nn.Module`` forms of the losses: the options are fixed once, the call takes tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from wbm_ext.errors import check_name
from wbm_ext.losses.balancing import wbm
from wbm_ext.losses.divergence import sinkhorn_divergence
from wbm_ext.losses.escfr import escfr_discrepancy
from wbm_ext.losses.moments import mmd
from wbm_ext.losses.options import check_options, options_of
from wbm_ext.losses.relaxed import rmpr
from wbm_ext.solver.checks import check_stop, positive_number


def _check_solve(options: dict[str, Any]) -> None:
    """Options of the solve, as far as they can be judged without a problem: tensors are looked at in the call."""
    check_stop(options.get("tol", 0.0), options.get("max_iter", 1))
    kappa = options.get("kappa", 1.0)
    sides = (
        {f"kappa[{k}]": side for k, side in enumerate(kappa)} if isinstance(kappa, tuple | list) else {"kappa": kappa}
    )
    if len(sides) > 2:
        raise ValueError(f"kappa must be a number, a tensor or a pair (rows, columns), got {len(sides)} values")
    for name, value in sides.items():
        if not isinstance(value, Tensor):
            positive_number(name, value, infinite=True)
    epsilon = options.get("epsilon")
    if epsilon is not None and not isinstance(epsilon, Tensor):
        positive_number("epsilon", epsilon, infinite=False)


class FunctionalLoss(nn.Module):
    """A loss function with its keyword-only options as attributes; the signature of the class shows them.

    Options may be changed between calls (``loss.epsilon = 0.1``). A tensor option is a buffer: it moves with ``to``,
    and is not in ``state_dict``.
    """

    function: ClassVar[Callable[..., Tensor]]
    defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        parameters = inspect.signature(cls.function).parameters.values()
        cls.defaults = options_of(cls.function)
        cls.__signature__ = inspect.Signature([p for p in parameters if p.name in cls.defaults])  # type: ignore[attr-defined]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        for name in options:
            check_name("option", name, self.defaults)
        check_options(**options)
        _check_solve(options)
        for name, value in {**self.defaults, **options}.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value, persistent=False)
            else:
                setattr(self, name, value)

    def _apply_function(self, *tensors: Tensor | None) -> Tensor:
        return type(self).function(*tensors, **{name: getattr(self, name) for name in self.defaults})

    def extra_repr(self) -> str:
        """The options that are not the defaults."""
        values = ((name, getattr(self, name)) for name in self.defaults)
        return ", ".join(f"{name}={v!r}" for name, v in values if isinstance(v, Tensor) or v != self.defaults[name])


class WBMLoss(FunctionalLoss):
    """Wasserstein balancing metric as a module; options are those of :func:`wbm_ext.losses.wbm`.

    Examples
    --------
    >>> import torch
    >>> loss = WBMLoss(scale_cost=True, logits=True)
    >>> logits = torch.tensor([0.6, -0.3, 0.5, -0.4], requires_grad=True)
    >>> loss(logits, torch.tensor([1, 1, 0, 0]), torch.eye(4)).backward()
    >>> loss, logits.grad.shape
    (WBMLoss(logits=True, scale_cost=True), torch.Size([4]))
    """

    function = staticmethod(wbm)

    def forward(self, propensity: Tensor, treatment: Tensor, representation: Tensor) -> Tensor:
        return self._apply_function(propensity, treatment, representation)


class RMPRLoss(FunctionalLoss):
    """Transport with relaxed mass preservation as a module; options are those of :func:`wbm_ext.losses.rmpr`.

    Examples
    --------
    >>> import torch
    >>> loss = RMPRLoss(kappa=2.0, reference="product")
    >>> x = torch.zeros(3, 2, requires_grad=True)
    >>> loss(x, torch.ones(4, 2)).backward()
    >>> x.grad.shape
    torch.Size([3, 2])
    """

    function = staticmethod(rmpr)

    def forward(self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        return self._apply_function(x, y, a, b)


class ESCFRLoss(FunctionalLoss):
    """The ESCFR discrepancy as a module; options are those of :func:`wbm_ext.losses.escfr_discrepancy`.

    It is the term that is added to the factual loss with the weight λ, not the whole objective.

    Examples
    --------
    >>> import torch
    >>> loss = ESCFRLoss(gamma=0.0, kappa=float("inf"), distance_scale=1.0)   # CFR-WASS
    >>> r = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    >>> loss(r, torch.tensor([1, 0, 1, 0, 0, 1])).backward()
    >>> bool(r.grad.abs().sum() > 0)
    True
    """

    function = staticmethod(escfr_discrepancy)

    def forward(
        self,
        representation: Tensor,
        treatment: Tensor,
        outcome: Tensor | None = None,
        counterfactual: Tensor | None = None,
    ) -> Tensor:
        return self._apply_function(representation, treatment, outcome, counterfactual)


class SinkhornDivergence(FunctionalLoss):
    """Debiased Sinkhorn divergence as a module; options are those of :func:`wbm_ext.losses.sinkhorn_divergence`.

    Examples
    --------
    >>> import torch
    >>> loss = SinkhornDivergence(epsilon=0.5)
    >>> round(float(loss(torch.zeros(3, 1), torch.ones(2, 1))), 4)
    1.0
    """

    function = staticmethod(sinkhorn_divergence)

    def forward(self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        return self._apply_function(x, y, a, b)


class MMDLoss(FunctionalLoss):
    """Squared maximum mean discrepancy as a module; options are those of :func:`wbm_ext.losses.mmd`.

    Examples
    --------
    >>> import torch
    >>> float(MMDLoss(kernel="linear")(torch.zeros(3, 1), torch.ones(2, 1)))
    1.0
    """

    function = staticmethod(mmd)

    def forward(self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        return self._apply_function(x, y, a, b)
