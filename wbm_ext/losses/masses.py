"""Masses of the reweighted sets, from propensities or their logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wbm_ext.losses.checks import check_propensity, check_weights
from wbm_ext.losses.options import check_flag, check_options


def propensity_bounds(clip: float, logits: bool) -> tuple[float, float]:
    """clip and 1 - clip, or their logits."""
    if not logits:
        return clip, 1 - clip
    high = math.log1p(-clip) - math.log(clip) if clip > 0 else math.inf
    return -high, high


def clip_propensity(propensity: Tensor, clip: float, *, logits: bool = False) -> Tensor:
    """q in [clip, 1 - clip], or its logit between the same bounds; what is clipped gets no gradient."""
    if logits and clip == 0:
        return propensity
    return propensity.clamp(*propensity_bounds(clip, logits))


def log_weights(propensity: Tensor, masses: str, *, logits: bool = False) -> Tensor:
    """w with masses = softmax(w): -log q for "self-normalized", 1/q for "softmax"."""
    if masses == "softmax":
        return 1 + (-propensity).exp() if logits else 1 / propensity
    return softplus(-propensity) if logits else -propensity.log()


def inverse_propensity_masses(propensity: Tensor, masses: str = "self-normalized", *, logits: bool = False) -> Tensor:
    """Masses a' of samples with propensities q: ∝ 1/q, or softmax(1/q) as the paper prints it.

    "self-normalized" a'_i = (1/q_i) / Σ_k 1/q_k is inverse propensity weighting, taken as softmax(-log q): no weight
    overflows. "softmax" (WBM Definition 3.1 to the letter) is ∝ exp(1/q_i): with calibrated propensities one sample
    takes nearly all of the mass.

    Parameters
    ----------
    propensity : Tensor, shape (n,)
        q in (0, 1]; clip before. For untreated samples pass 1 - q.
    masses : {"self-normalized", "softmax"}
    logits : bool
        ``propensity`` holds z with q = 1/(1 + exp(-z)): -log q is then softplus(-z), exact where q rounds to 0 or 1.
        For untreated samples pass -z.

    Returns
    -------
    Tensor, shape (n,), total 1

    Raises
    ------
    TypeError, ValueError
        No tensor, not a vector of floating-point numbers; on the CPU also q outside (0, 1].

    Examples
    --------
    >>> import torch
    >>> q = torch.tensor([0.5, 0.25, 0.25])
    >>> [round(a, 4) for a in inverse_propensity_masses(q).tolist()]
    [0.2, 0.4, 0.4]
    >>> [round(a, 4) for a in inverse_propensity_masses(torch.tensor([-200.0, -200.0]), logits=True).tolist()]
    [0.5, 0.5]
    """
    check_options(masses=masses)
    check_flag("logits", logits)
    return log_weights(check_propensity(propensity, logits, positive=True), masses, logits=logits).softmax(0)


def effective_sample_size(masses: Tensor) -> Tensor:
    """(Σ w)² / Σ w²: as many equal weights would have the same variance; between 1 and n. No gradient.

    0 where all weights are 0.

    Parameters
    ----------
    masses : Tensor, shape (..., n)
        Weights ≥ 0 of any scale.

    Returns
    -------
    Tensor of float64, shape (...)

    Raises
    ------
    TypeError, ValueError
        No tensor, a scalar; on the CPU also a weight that is negative or NaN.

    Examples
    --------
    >>> import torch
    >>> float(effective_sample_size(torch.tensor([0.5, 0.5, 0.0])))
    2.0
    """
    check_weights("masses", masses)
    w = masses.detach().double()
    squares = w.square().sum(-1)
    return torch.where(squares == 0, 0.0, w.sum(-1).square() / squares)
