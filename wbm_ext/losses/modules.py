"""``nn.Module`` forms of the losses: the options are fixed once, the call takes tensors."""

from __future__ import annotations

from torch import Tensor, nn

from wbm_ext.errors import check_name
from wbm_ext.losses.balancing import AGAINST, wbm
from wbm_ext.losses.masses import MASSES
from wbm_ext.solver.api import Kappa


class WBMLoss(nn.Module):
    """Wasserstein balancing metric as a module; parameters are those of :func:`wbm_ext.losses.wbm`.

    Examples
    --------
    >>> import torch
    >>> loss = WBMLoss(scale_cost=True)
    >>> q = torch.tensor([0.6, 0.3, 0.5, 0.4], requires_grad=True)
    >>> loss(q, torch.tensor([1, 1, 0, 0]), torch.eye(4)).backward()
    >>> q.grad.shape
    torch.Size([4])
    """

    def __init__(
        self,
        *,
        masses: str = "self-normalized",
        against: str = "untreated",
        clip: float = 0.01,
        epsilon: float | Tensor | None = None,
        kappa: Kappa = float("inf"),
        scale_cost: bool = False,
        detach_representation: bool = True,
        tol: float = 1e-6,
        max_iter: int = 1000,
        grad: str = "implicit",
    ) -> None:
        super().__init__()
        self.masses = check_name("masses", masses, MASSES)
        self.against = check_name("against", against, AGAINST)
        self.clip = clip
        self.epsilon = epsilon
        self.kappa = kappa
        self.scale_cost = scale_cost
        self.detach_representation = detach_representation
        self.tol = tol
        self.max_iter = max_iter
        self.grad = grad

    def forward(self, propensity: Tensor, treatment: Tensor, representation: Tensor) -> Tensor:
        return wbm(
            propensity,
            treatment,
            representation,
            masses=self.masses,
            against=self.against,
            clip=self.clip,
            epsilon=self.epsilon,
            kappa=self.kappa,
            scale_cost=self.scale_cost,
            detach_representation=self.detach_representation,
            tol=self.tol,
            max_iter=self.max_iter,
            grad=self.grad,
        )

    def extra_repr(self) -> str:
        return f"masses={self.masses!r}, against={self.against!r}, epsilon={self.epsilon}, grad={self.grad!r}"
