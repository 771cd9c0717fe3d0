"""The terms that the systems' losses are made of, as functions of a batch and of the networks' outputs.

Notation: o observed, r in {0, 1} the label, r^ the prediction, q the propensity, e = BCE(r^, r), r~ the pseudo-label
of the imputation, e^ = BCE(r^, r~) the imputed error. All networks speak in logits. Means over D are the sums that the
batch's weights make unbiased (:mod:`wbm_ext.recommender.sampling`). Labels of unobserved pairs are never read.
"""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from wbm_ext.recommender.sampling import Batch

IMPUTATIONS = ("pseudo-label", "swapped", "direct")


def cross_entropy(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return BCE(sigmoid(logit), target) of each pair, shape (B,); targets may be soft and may take a gradient."""
    return binary_cross_entropy_with_logits(logit, target, reduction="none")


def positive(batch: Batch) -> torch.Tensor:
    """Return o r of each pair, shape (B,)."""
    return torch.where(batch.observed, batch.labels, torch.zeros_like(batch.labels))


def errors(batch: Batch, logit: torch.Tensor) -> torch.Tensor:
    """Return e = BCE(r^, r) of each pair, shape (B,); meaningful where observed, finite elsewhere."""
    return cross_entropy(logit, positive(batch))


def mean(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """Estimate the mean of ``values`` (B,) over what the batch is a sample of."""
    return (batch.weight * values).sum()


def observed_mean(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """Estimate the mean of o v over what the batch is a sample of."""
    return mean(batch, torch.where(batch.observed, values, torch.zeros_like(values)))


def propensity_loss(kind: str, logit: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Estimate the mean over D of BCE(q, o) ("nll") or (q - o)^2 ("mse"); a scalar."""
    observed = batch.observed.to(logit)
    each = cross_entropy(logit, observed) if kind == "nll" else (torch.sigmoid(logit) - observed).square()
    return mean(batch, each)


def conversion_loss(batch: Batch, propensity: torch.Tensor, logit: torch.Tensor) -> torch.Tensor:
    """Estimate the mean over D of BCE(q r^, o r), the CTCVR task of ESMM, from the logits of q and of r^.

    log(q r^) = log q + log r^ and log(1 - q r^) = log((1 - q) + q (1 - r^)), both by logarithms of sigmoids, so
    that neither small nor large logits overflow or lose their gradient.
    """
    seen, target = logsigmoid(propensity), positive(batch)
    both = seen + logsigmoid(logit)
    neither = torch.logaddexp(logsigmoid(-propensity), seen + logsigmoid(-logit))
    return mean(batch, -target * both - (1.0 - target) * neither)


def imputed_errors(form: str, logit: torch.Tensor, imputation: torch.Tensor) -> torch.Tensor:
    """Return e^ of each pair from the logits of r^ and of the imputation network, shape (B,).

    ``form``: "pseudo-label" is BCE(r^, r~); "swapped" is BCE(r~, r^), the arguments exchanged, as some public code has
    it; "direct" is softplus of the imputation network's output, which does not depend on r^ at all.
    """
    if form == "direct":
        return softplus(imputation)
    if form == "swapped":
        return cross_entropy(imputation, torch.sigmoid(logit))
    return cross_entropy(logit, torch.sigmoid(imputation))
