"""Moment balancing of propensities (IPS-V2), to compare transport balancing with."""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext.losses.checks import check_batch, check_propensity
from wbm_ext.losses.masses import clip_propensity
from wbm_ext.losses.options import check_options


def moment_balance(
    propensity: Tensor,
    treatment: Tensor,
    representation: Tensor,
    *,
    logits: bool = False,
    clip: float = 0.01,
    detach_representation: bool = True,
) -> Tensor:
    """Moment balancing of propensities (IPS-V2): WBM with means in the place of transport.

        | 1/B Σ [ o/q - (1 - o)/(1 - q) ] φ |²

    Parameters
    ----------
    propensity : Tensor, shape (B,)
        q = P(treated), in [0, 1], or its logits; the gradient goes here.
    treatment : Tensor, shape (B,)
        o: bool, or 0 and 1.
    representation : Tensor, shape (B,) or (B, k)
        φ, one or several functions of each sample.
    logits, clip, detach_representation
        As in :func:`wbm`.

    Returns
    -------
    Tensor, scalar
        Squared units of φ.

    Raises
    ------
    TypeError, ValueError
        As :func:`wbm`.

    References
    ----------
    Li et al., "Propensity matters: towards robust and effective debiased recommendation", ICML 2023.

    Examples
    --------
    >>> import torch
    >>> phi, treated = torch.tensor([1.0, 2.0, 1.0, 2.0]), torch.tensor([1, 1, 0, 0])
    >>> float(moment_balance(torch.full((4,), 0.5), treated, phi))
    0.0
    """
    check_options(clip=clip, logits=logits, detach_representation=detach_representation)
    q = check_propensity(propensity, logits)
    treated = check_batch(treatment, len(q), "propensity")
    if not isinstance(representation, Tensor):
        raise TypeError(f"representation must be a torch.Tensor, got {type(representation).__name__}")
    if representation.dim() not in (1, 2) or len(representation) != len(q):
        raise ValueError(
            f"representation must have shape ({len(q)},) or ({len(q)}, k), got {tuple(representation.shape)}"
        )
    bounded = clip_propensity(q, clip, logits=logits)
    # ±1/(the propensity of what happened): the branch not taken must not reach the gradient
    happened = torch.where(treated, bounded, -bounded if logits else 1 - bounded)
    inverse = 1 + torch.exp(-happened) if logits else 1 / happened
    weight = torch.where(treated, inverse, -inverse)
    phi = (representation.detach() if detach_representation else representation).to(q.dtype)
    phi = phi if phi.dim() == 2 else phi[:, None]
    return (weight[:, None] * phi).mean(0).square().sum()
