"""Bad input gets a typed error that names the argument, what was expected and what came, before any work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import wbm_ext
from wbm_ext import Status
from wbm_ext.errors import UnknownNameError

INF, NAN = math.inf, math.nan
D = torch.rand(4, 3) + 0.1
a, b = torch.full((4,), 0.25), torch.full((3,), 1 / 3)


def _with(tensor: torch.Tensor, index, value: float) -> torch.Tensor:
    out = tensor.clone()
    out[index] = value
    return out


BAD = {
    "D numpy": ((np.ones((4, 3)),), {}, TypeError, r"D must be a torch.Tensor, got ndarray"),
    "D vector": ((torch.rand(4),), {}, ValueError, r"D must have shape \(\.\.\., n, m\), got \(4,\)"),
    "D integer": ((torch.ones(4, 3, dtype=torch.int64),), {}, TypeError, r"D must be float32.*got torch.int64"),
    "D complex": ((torch.ones(4, 3, dtype=torch.complex64),), {}, TypeError, r"D must be float32.*complex64"),
    "D sparse": ((D.to_sparse(),), {}, TypeError, "D must be a dense tensor"),
    "D without rows": ((torch.rand(0, 3),), {}, ValueError, r"at least one row.*\(0, 3\)"),
    "D NaN": ((_with(D, (1, 2), NAN),), {}, ValueError, r"D must hold numbers.*D\[1, 2\] = nan"),
    "D -inf": ((_with(D, (1, 2), -INF),), {}, ValueError, r"D\[1, 2\] = -inf"),
    "D NaN in batch": ((torch.stack([D, _with(D, (0, 1), NAN)]),), {}, ValueError, r"D\[0, 1\] = nan \(problem \(1,\)\)"),
    "a shape": ((D, torch.rand(5)), {}, ValueError, r"a must have shape \(\.\.\., n\) = \(\.\.\., 4\).*got \(5,\)"),
    "b shape": ((D, a, torch.rand(4)), {}, ValueError, r"b must have shape \(\.\.\., m\) = \(\.\.\., 3\).*got \(4,\)"),
    "a type": ((D, a.double()), {}, TypeError, r"a must be torch.float32 for D of torch.float32, got torch.float64"),
    "a for half D": ((D.half(), a.half()), {}, TypeError, r"a must be torch.float32 for D of torch.float16"),
    "a list": ((D, [0.25] * 4), {}, TypeError, r"a must be a torch.Tensor, got list"),
    "a negative": ((D, _with(a, 2, -0.1), b), {}, ValueError, r"a must hold finite masses >= 0, got a\[2\] = -0.1"),
    "a NaN": ((D, _with(a, 1, NAN), b), {}, ValueError, r"got a\[1\] = nan"),
    "b inf": ((D, a, _with(b, 1, INF)), {"kappa": 1.0}, ValueError, r"got b\[1\] = inf"),
    "batches": ((D.expand(2, 4, 3), a.expand(3, 4)), {}, ValueError, r"broadcast together, got D \(2,\), a \(3,\)"),
    "unequal": ((D, a, 2 * b), {}, ValueError, r"same total.*got 1 and 2; normalise them or pass a finite kappa"),
    "slightly unequal": ((D, a, 1.01 * b), {}, ValueError, r"same total \(within 1e-3 relative\)"),
    "epsilon 0": ((D,), {"epsilon": 0.0}, ValueError, r"epsilon must be positive and finite, got 0.0"),
    "epsilon negative": ((D,), {"epsilon": -1}, ValueError, r"epsilon must be positive and finite, got -1"),
    "epsilon inf": ((D,), {"epsilon": INF}, ValueError, r"epsilon must be positive and finite, got inf"),
    "epsilon NaN": ((D,), {"epsilon": NAN}, ValueError, r"epsilon must be positive and finite, got nan"),
    "epsilon text": ((D,), {"epsilon": "0.1"}, TypeError, r"epsilon must be a number or a tensor"),
    "epsilon bool": ((D,), {"epsilon": True}, TypeError, r"epsilon must be a number"),
    "epsilon shape": ((D,), {"epsilon": torch.ones(2)}, ValueError, r"one value per problem, shape \(\), got \(2,\)"),
    "epsilon tensor": ((D.expand(2, 4, 3),), {"epsilon": torch.tensor([1.0, -1.0])}, ValueError, r"epsilon -1.0.*problem \(1,\)"),
    "epsilon gradient": ((D,), {"epsilon": torch.tensor(0.1, requires_grad=True), "grad": "unrolled"}, NotImplementedError, "epsilon requires a gradient, which grad='unrolled'"),
    "kappa 0": ((D,), {"kappa": 0}, ValueError, r"kappa must be positive \(inf = a hard marginal\), got 0"),
    "kappa pair": ((D,), {"kappa": (1.0, -2.0)}, ValueError, r"kappa\[1\] must be positive.*got -2"),
    "kappa three": ((D,), {"kappa": (1.0, 2.0, 3.0)}, ValueError, r"pair \(rows, columns\), got 3"),
    "kappa gradient": ((D,), {"kappa": torch.tensor(1.0, requires_grad=True), "grad": "frozen"}, NotImplementedError, "kappa requires a gradient, which grad='frozen'"),
    "negative mean": ((-D,), {}, ValueError, r"epsilon=None.*pass epsilon"),
    "isolated row": ((_with(D, 1, INF),), {}, ValueError, r"row 1 of D has mass 0.25 but every pair is forbidden"),
    "isolated column": ((_with(D, (slice(None), 2), INF),), {"kappa": (1.0, INF)}, ValueError, r"column 2 of D"),
    "isolated by mask": ((D,), {"mask": _with(torch.ones(4, 3, dtype=torch.bool), 3, False)}, ValueError, "row 3"),
    "mask type": ((D,), {"mask": torch.ones(4, 3)}, TypeError, r"mask must be torch.bool.*got torch.float32"),
    "mask shape": ((D,), {"mask": torch.ones(3, 4, dtype=torch.bool)}, ValueError, r"mask must have shape.*got \(3, 4\)"),
    "reference": ((D,), {"reference": "kl"}, UnknownNameError, r"reference='kl'.*'entropy', 'product'"),
    "method": ((D,), {"method": "sinkhron"}, UnknownNameError, r"did you mean 'sinkhorn'"),
    "grad": ((D,), {"grad": "unroled"}, UnknownNameError, r"did you mean 'unrolled'"),
    "criterion": ((D,), {"criterion": "marginals"}, UnknownNameError, r"did you mean 'marginal'"),
    "validate": ((D,), {"validate": True}, TypeError, r"validate must be a string"),
    "tol negative": ((D,), {"tol": -1e-3}, ValueError, r"tol must be finite and at least 0"),
    "tol text": ((D,), {"tol": "1e-3"}, TypeError, r"tol must be a number, got str"),
    "max_iter 0": ((D,), {"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
    "max_iter float": ((D,), {"max_iter": 10.0}, TypeError, r"max_iter must be an int, got float"),
    "init type": ((D,), {"init": torch.zeros(3)}, TypeError, r"init must be a pair \(f, g\) or a SinkhornResult"),
    "init shape": ((D,), {"init": (torch.zeros(4), torch.zeros(4))}, ValueError, r"init\[1\] \(g\) must have shape \(3,\)"),
    "init NaN": ((D,), {"init": (None, torch.full((3,), NAN))}, ValueError, r"init must hold finite potentials"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rejected_with_a_reason(name):
    arguments, options, error, message = BAD[name]
    for function in (wbm_ext.solve, wbm_ext.sinkhorn):
        with pytest.raises(error, match=message):
            function(*arguments, **options)


def test_sinkhorn_rejects_an_unknown_cost():
    with pytest.raises(UnknownNameError, match="did you mean 'regularized'"):
        wbm_ext.sinkhorn(D, cost="regularised")


def test_errors_are_value_and_type_errors():
    assert issubclass(UnknownNameError, ValueError)


def test_nothing_is_computed_before_the_error():
    """A refused problem is not iterated: its status says why, its numbers are NaN, and the others are solved."""
    batch = torch.stack([D, _with(D, (0, 0), NAN), D])
    result = wbm_ext.solve(batch, epsilon=0.1, validate="none")
    assert int(result.status[1]) == Status.NAN_COST
    assert int(result.iterations[1]) == 0
    assert bool(result.cost[1].isnan())
    assert bool(result.plan[1].isnan().any())
    assert bool(result.converged[0] & result.converged[2])
    assert not bool(result.converged[1])
    assert result.status_text()[1] == "D holds NaN or -inf"


@pytest.mark.parametrize(
    ("changed", "bit"),
    [
        ({"a": _with(a, 0, -1.0)}, Status.INVALID_MASS),
        ({"b": 2 * b}, Status.UNEQUAL_MASSES),
        ({"D": _with(D, 0, INF)}, Status.ISOLATED),
        ({"init": (None, torch.full((3,), INF))}, Status.INVALID_INIT),
    ],
    ids=["mass", "unequal", "isolated", "init"],
)
def test_without_validation_the_status_carries_the_reason(changed, bit):
    arguments = {"D": D, "a": a, "b": b, "epsilon": 0.1, **changed}
    result = wbm_ext.solve(arguments.pop("D"), arguments.pop("a"), arguments.pop("b"), validate="none", **arguments)
    assert int(result.status) & bit
    assert bool(result.cost.isnan())


def test_the_gradient_of_a_refused_problem_is_nan_not_silent_zero():
    batch = torch.stack([D, _with(D, (0, 0), NAN)]).requires_grad_()
    wbm_ext.solve(batch, epsilon=0.1, validate="none").cost.sum().backward()
    assert bool(batch.grad[0].isfinite().all())
    assert bool(batch.grad[1].isnan().all())


def test_numpy_numbers_are_numbers():
    assert float(wbm_ext.sinkhorn(D, epsilon=np.float64(0.1), kappa=np.float32(1.0))) == pytest.approx(
        float(wbm_ext.sinkhorn(D, epsilon=0.1, kappa=1.0))
    )
