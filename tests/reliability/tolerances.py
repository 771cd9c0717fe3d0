"""How closely results must agree with a reference solved to a residual of 1e-9: the one table of these tests.

Errors are relative to what stands behind the quantity: "plan" to the mass max(ΣP, (Σa + Σb)/2), "cost" to that mass × the
largest |D_ij| it could use, "regularized_cost" to the sum of the absolute values of its terms and that mass × the
largest dual potential (a hard marginal that is met to tol leaves an error <r - a, f>).

All are multiples of the solver's ``tol`` (1e-9 in float64, 1e-6 in float32): a residual of tol leaves an error of
tol / (1 - rate), and a reference that came from 1 to 1e-9 within 150 iterations has 1 - rate > log(1e9) / 150 = 0.14.
Smaller epsilon, where such a reference does not converge, is judged by residual and duality gap instead.
"""

from __future__ import annotations

REFERENCE_RESIDUAL = 1e-9
REFERENCE_ITERATIONS = 150

# (dtype, epsilon / mean cost at least, quantity): tolerance
TABLE = {
    ("float64", 1.0, "cost"): 8e-9,
    ("float64", 1.0, "regularized_cost"): 8e-9,
    ("float64", 1.0, "plan"): 8e-9,
    ("float64", 0.05, "cost"): 8e-9,
    ("float64", 0.05, "regularized_cost"): 8e-9,
    ("float64", 0.05, "plan"): 8e-9,
    ("float32", 1.0, "cost"): 8e-6,
    ("float32", 1.0, "regularized_cost"): 8e-6,
    ("float32", 1.0, "plan"): 8e-6,
    ("float32", 0.05, "cost"): 8e-6,
    ("float32", 0.05, "regularized_cost"): 8e-6,
    ("float32", 0.05, "plan"): 8e-6,
}
SMALLEST_RATIO = min(ratio for _, ratio, _ in TABLE)


def tolerance(dtype: str, ratio: float, quantity: str) -> float:
    """The entry of the largest bucket that ``ratio`` (epsilon / mean cost) falls into."""
    bucket = max(least for _, least, _ in TABLE if least <= ratio)
    return TABLE[dtype, bucket, quantity]
