"""Weights that transport has to be compared with: flattened, in strata, and balanced in moments or kernels.

Every function takes ``base``, the weights of the observed pairs as given, and returns weights of the same length. Those
that balance bring features ``x`` (n, k) of the observed pairs to those of the whole space.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def effective_size(w: Array) -> float:
    """(sum w)^2 / sum w^2."""
    return float(w.sum() ** 2 / (w @ w))


def entropy_balance(base: Array, x: Array, target: Array, *, ridge: float = 0.0, max_iter: int = 60) -> Array:
    """Weights nearest to ``base`` in relative entropy whose feature means are ``target`` (softly for a ridge > 0).

    w ∝ base exp(<λ, x - target>), λ by damped Newton steps on the convex dual log sum w + ridge |λ|^2 / 2, features in
    units of their standard deviation. Hainmueller, "Entropy balancing for causal effects", 2012.
    """
    z = (x - target) / (x.std(0) + 1e-12)
    log_base = np.log(base / base.sum())

    def dual(lam: Array) -> tuple[float, Array]:
        logits = log_base + z @ lam
        top = logits.max()
        p = np.exp(logits - top)
        return top + np.log(p.sum()) + ridge / 2 * lam @ lam, p / p.sum()

    lam = np.zeros(z.shape[1])
    value, p = dual(lam)
    for _ in range(max_iter):
        gradient = z.T @ p + ridge * lam
        if np.abs(gradient).max() < 1e-7:
            break
        mean = z.T @ p
        hessian = z.T @ (z * p[:, None]) - np.outer(mean, mean) + (ridge + 1e-8) * np.eye(len(lam))
        step, length = -np.linalg.solve(hessian, gradient), 1.0
        while length > 1e-6:
            new, q = dual(lam + length * step)
            if new <= value + 1e-4 * length * gradient @ step:
                break
            length /= 2
        else:
            break
        lam, value, p = lam + length * step, new, q
    return p * len(base)


def strata(base: Array, x: Array, whole: Array, bins: int = 20) -> Array:
    """Post-stratification of one feature: each quantile bin of the whole space gets its share of the weight."""
    cuts = np.unique(np.quantile(whole, np.linspace(0, 1, bins + 1)[1:-1]))
    share = np.bincount(np.searchsorted(cuts, whole, side="right"), minlength=len(cuts) + 1) / len(whole)
    bin_of = np.searchsorted(cuts, x, side="right")
    held = np.bincount(bin_of, base / base.sum(), len(share))
    return base * (share / np.maximum(held, 1e-12))[bin_of]


def random_features(sample: Array, count: int = 100, seed: int = 0) -> Callable[[Array], Array]:
    """Random Fourier features of the Gaussian kernel whose bandwidth is the median distance in ``sample``."""
    rng = np.random.default_rng(seed)
    one, two = sample[:300], sample[300:600]
    distance = np.sqrt(np.square(one[:, None] - two[None]).sum(-1))
    W = rng.normal(size=(sample.shape[1], count)) / np.median(distance[distance > 0])
    phase = rng.uniform(0, 2 * np.pi, count)
    return lambda x: np.sqrt(2 / count) * np.cos(x @ W + phase)


def kernel_balance(base: Array, x: Array, whole: Array, *, ridge: float, seed: int = 0) -> Array:
    """Entropy balancing of random Fourier features, with a ridge: the kernel means of the two sets brought together."""
    features = random_features(whole, seed=seed)
    return entropy_balance(base, features(x), features(whole).mean(0), ridge=ridge)


def _solve_for_size(make: Callable[[float], Array], low: float, high: float, size: float) -> Array:
    """``make`` at the point of [low, high] whose effective size, which falls along it, is nearest to ``size``."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if effective_size(make(middle)) > size else (low, middle)
    return make((low + high) / 2)


def tempered(base: Array, size: float) -> Array:
    """base^t with the t in [0, 4] that gives the effective size: flatter for t < 1, sharper above."""
    return _solve_for_size(lambda t: (base / base.max()) ** t, 0.0, 4.0, size)


def floored(base: Array, size: float) -> Array:
    """Propensities raised to a floor that gives the effective size; as given where that is below their own."""
    ordered = np.sort(base)
    if effective_size(base) >= size:
        return base.copy()
    return _solve_for_size(lambda log_cap: np.minimum(base, np.exp(log_cap)), *np.log(ordered[[0, -1]]), size)


def mixed(base: Array, size: float) -> Array:
    """t base / mean + 1 - t, t in [0, 1] by the effective size; as given where that is below its own."""
    if effective_size(base) >= size:
        return base.copy()
    level = base / base.mean()
    return _solve_for_size(lambda t: t * level + 1 - t, 0.0, 1.0, size)
