"""The weights that are compared, each by its name for readers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from python_benchmarks.known_truth import controls
from python_benchmarks.known_truth.draw import Draw
from python_benchmarks.known_truth.transport import batch_weights, relaxed_weights

Array = NDArray[np.float64]

FEATURES = ("embeddings", "rating, propensity")
GIVEN, CONSTANT = "given", "constant"
STRATA = "20 strata of the imputed rating"

TRANSPORT: Mapping[str, Mapping[str, Any]] = {
    "WBM": {"objective": "plain", "penalty": 0.03, "steps": 100, "batch": 192},
}
"""Settings of WBM in batches, chosen on the draws of ``TUNING``."""

TRIES: Mapping[str, partial[Array]] = {
    "debiased transport, batches of 1,024": partial(batch_weights, objective="debiased", batch=1024, steps=50),
    "split-batch transport": partial(batch_weights, objective="split", batch=192, steps=300, epsilon=0.2),
    "moments, then split-batch transport": partial(batch_weights, objective="split", batch=192, steps=300),
    "relaxed plan": partial(relaxed_weights, kappa=0.03, epsilon=0.02, size=500),
}
"""Attempts at beating entropy balancing by transport; the third begins and ends with it."""

TUNING = (1000, 1001, 1002)
"""Draws that settings were chosen on; none of them is reported."""

FLAT = (GIVEN, CONSTANT, "floored", "mixed with a constant", "tempered")
"""The last three at the effective sample size of WBM on embeddings."""

UNSCALED = ("mixed with a constant", "tempered")
"""Weights without a scale of their own: the inverse propensity estimate is not defined for them."""


def controls_of(features: str) -> tuple[str, ...]:
    """Names of the balancing controls on the same features."""
    return tuple(f"{name}, on {features}" for name in ("entropy balancing", "kernel balancing"))


def all_weights(draw: Draw, propensity: str, tries: bool) -> dict[str, Array]:
    """Name -> weights of the observed pairs on the scale of 1/q; those that balance have the total |D|.

    ``tries``: with the four attempts of ``TRIES`` on either set of features.
    """
    base = draw.given[propensity]
    total = draw.truth.size
    found = {GIVEN: base, CONSTANT: np.full(len(base), total / len(base))}
    imputed = draw.imputed.ravel()
    balanced = {STRATA: controls.strata(base, imputed[draw.keys], imputed)}
    for features in FEATURES:
        x, mean = draw.features(features), draw.mean(features)
        sample = partial(draw.sample, features)
        whole = sample(5_000, np.random.default_rng(draw.seed))
        entropy, kernel = controls_of(features)
        balanced[entropy] = controls.entropy_balance(base, x, mean)
        balanced[kernel] = controls.kernel_balance(base, x, whole, ridge=0.1)
        for name, options in TRANSPORT.items():
            balanced[f"{name}, on {features}"] = batch_weights(base, x, sample, seed=draw.seed, **options)
        for name, method in TRIES.items() if tries else ():
            first = name.startswith("moments")
            w = method(balanced[entropy] if first else base, x, sample, seed=draw.seed)
            balanced[f"{name}, on {features}"] = controls.entropy_balance(w, x, mean) if first else w
    size = controls.effective_size(balanced[f"WBM, on {FEATURES[0]}"])
    found |= {"floored": controls.floored(base, size), "mixed with a constant": controls.mixed(base, size)}
    found["tempered"] = controls.tempered(base, size)
    return found | {name: w / w.sum() * total for name, w in balanced.items()}
