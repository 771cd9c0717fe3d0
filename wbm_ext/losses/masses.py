"""Masses of the reweighted sets, from propensities."""

from __future__ import annotations

from torch import Tensor

from wbm_ext.errors import check_name

MASSES = ("self-normalized", "softmax")


def inverse_propensity_masses(propensity: Tensor, masses: str = "self-normalized") -> Tensor:
    """Masses a' of samples with propensities q: ∝ 1/q, or softmax(1/q) as the paper prints it.

    "self-normalized" a'_i = (1/q_i) / Σ_k 1/q_k is inverse propensity weighting. "softmax" (WBM Definition 3.1 to the
    letter) is ∝ exp(1/q_i): with calibrated propensities one sample takes nearly all of the mass.

    Parameters
    ----------
    propensity : Tensor, shape (n,)
        In (0, 1]; clip before. For untreated samples pass 1 - q.
    masses : {"self-normalized", "softmax"}

    Returns
    -------
    Tensor, shape (n,), total 1

    Examples
    --------
    >>> import torch
    >>> inverse_propensity_masses(torch.tensor([0.5, 0.25, 0.25])).tolist()
    [0.20000000298023224, 0.4000000059604645, 0.4000000059604645]
    """
    check_name("masses", masses, MASSES)
    inverse = 1.0 / propensity
    return inverse.softmax(0) if masses == "softmax" else inverse / inverse.sum()


def effective_sample_size(masses: Tensor) -> Tensor:
    """(Σ w)² / Σ w²: as many equal weights would have the same variance; between 1 and n. No gradient."""
    w = masses.detach().double()
    return w.sum().square() / w.square().sum()
