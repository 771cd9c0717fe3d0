"""Arguments of a solve: checked without reading the device, then brought to one shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wbm_ext._native import BACKEND
from wbm_ext.errors import check_name
from wbm_ext.solver.checks import (
    COSTS,
    CRITERIA,
    GRADIENTS,
    METHODS,
    REFERENCES,
    VALIDATIONS,
    Strength,
    broadcast,
    check_cost,
    check_init,
    check_kappa,
    check_mask,
    check_mass,
    check_stop,
    check_strength,
    option,
)
from wbm_ext.solver.kernels import computed_in

__all__ = ["COSTS", "CRITERIA", "GRADIENTS", "METHODS", "REFERENCES", "VALIDATIONS", "Arguments", "prepare"]


@dataclass(slots=True)
class Arguments:
    """A solve's inputs, checked. Tensors have no batch dimension or one: D (n, m) or (B, n, m), and the others alike.

    What was left to its default stays None (masses: uniform with total 1; epsilon: 0.05 times the mean of D), and what
    was a number stays one.
    """

    batch: tuple[int, ...]  # of the results
    cost: Tensor
    a: Tensor | None
    b: Tensor | None
    epsilon: float | Tensor | None
    kappa: tuple[float, float] | Tensor  # (rows, columns), or a tensor (..., 2)
    mask: Tensor | None
    init_g: Tensor | None
    reference: int
    method: int
    criterion: int
    gradient: int
    tol: float
    max_iter: int
    validate: str

    @property
    def reads_data(self) -> bool:
        """Whether the status is to be read, which waits for the device."""
        return self.validate == "full" or (self.validate == "auto" and self.cost.device.type == "cpu")

    def epsilons(self) -> Tensor:
        """Epsilon of each problem, (B,)."""
        if self.epsilon is None:
            cost, a, b, mask = self.flat_data()
            return 0.05 * torch.ops.wbm_ext.mean_cost(cost.detach(), a.detach(), b.detach(), mask)
        if isinstance(self.epsilon, Tensor):
            return self.epsilon.reshape(-1)
        return torch.full((math.prod(self.batch),), self.epsilon, dtype=torch.float64, device=self.cost.device)

    def kappas(self) -> Tensor:
        """Kappa of both sides of each problem, (B, 2)."""
        return pair(self.kappa, math.prod(self.batch), self.cost.device)

    def flat_data(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """D (B, n, m), a (B, n), b (B, m) and the mask as the registered operators take them."""
        (n, m), count = self.cost.shape[-2:], math.prod(self.batch)
        cost, mask = (None if x is None else x.reshape(count, n, m) for x in (self.cost, self.mask))
        assert cost is not None
        return cost, uniform(self.a, count, n, cost.device), uniform(self.b, count, m, cost.device), mask


def pair(kappa: tuple[float, float] | Tensor, count: int, device: torch.device) -> Tensor:
    """Kappa as (B, 2)."""
    if isinstance(kappa, Tensor):
        return kappa.reshape(count, 2)
    return torch.cat([torch.full((count, 1), k, dtype=torch.float64, device=device) for k in kappa], 1)


def uniform(mass: Tensor | None, count: int, size: int, device: torch.device) -> Tensor:
    """The masses as (B, size), uniform with total 1 where none were given."""
    if mass is None:
        return torch.full((count, size), 1.0 / size, dtype=torch.float64, device=device)
    return mass.reshape(count, size)


def _reads_16_bits(D: Tensor) -> bool:
    """Whether the kernels of D's device read its 16-bit types themselves."""
    return BACKEND == "native" and D.device.type == "cuda"


def _flat(x: Tensor, batch: tuple[int, ...], own: int) -> Tensor:
    """x with ``own`` dimensions behind the batch, which is brought to no dimension or one; x itself where it is."""
    lead = x.shape[: x.dim() - own]
    if len(batch) < 2:
        return x if lead == batch else x.expand(*batch, *x.shape[-own:])
    return x.expand(*batch, *x.shape[-own:]).reshape(-1, *x.shape[-own:])


def prepare(
    D: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: float | Tensor | None,
    kappa: Strength | tuple[Strength, Strength],
    reference: str,
    grad: str,
    method: str,
    tol: float,
    max_iter: int,
    criterion: str,
    init: object,
    mask: Tensor | None,
    validate: str,
) -> Arguments:
    """Check every argument and flatten the batch; see :func:`wbm_ext.solve` for their meaning."""
    D = check_cost(D)
    kind = computed_in(D.dtype)
    *lead, n, m = D.shape
    batch = tuple(lead)
    if a is not None:
        a = check_mass("a", a, n, D, kind)
    if b is not None:
        b = check_mass("b", b, m, D, kind)
    mask = check_mask(mask, D)
    shapes = {
        name: tuple(x.shape[: x.dim() - own])
        for name, x, own in (("D", D, 2), ("a", a, 1), ("b", b, 1), ("mask", mask, 2))
        if x is not None
    }
    if any(shape != batch for shape in shapes.values()):
        batch = broadcast(shapes)

    options = (
        option("reference", reference, REFERENCES),
        option("method", method, METHODS),
        option("criterion", criterion, CRITERIA),
        option("grad", grad, GRADIENTS),
    )
    if grad == "unrolled":  # plain iterations, so that there is something to differentiate
        options = (options[0], METHODS["sinkhorn"], *options[2:])
    if validate not in VALIDATIONS:
        check_name("validate", validate, VALIDATIONS)
    stop = check_stop(tol, max_iter)
    return Arguments(
        batch,
        _flat(D if D.dtype == kind or _reads_16_bits(D) else D.to(kind), batch, 2),
        None if a is None else _flat(a, batch, 1),
        None if b is None else _flat(b, batch, 1),
        None if epsilon is None else check_strength("epsilon", epsilon, batch, D, grad, infinite=False),
        check_kappa(kappa, batch, D, grad),
        None if mask is None else _flat(mask, batch, 2),
        None if init is None else check_init(init, batch, D),
        *options,
        *stop,
        validate,
    )
