"""What a caller may get wrong: one error that names the argument, or the right number; never a silent guess."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from problems import generator
from wbm_ext import losses

RNG = generator(0)
PHI = torch.randn(16, 3, generator=RNG)
TREATED = torch.arange(16) < 6
Q = torch.rand(16, generator=RNG) * 0.6 + 0.2
Y, OTHER = (torch.randn(16, generator=RNG) for _ in range(2))
X, Z = PHI[:6], PHI[6:]
OUTCOMES = (Y[:6], Y[6:], OTHER[:6], OTHER[6:])

WRONG = {
    "flag": (lambda: losses.wbm(Q, TREATED, PHI, scale_cost="mean"), TypeError, "scale_cost must be True or False; got 'mean'"),
    "number as flag": (lambda: losses.wbm(Q, TREATED, PHI, logits=1), TypeError, "logits must be True or False; got 1"),
    "relative": (lambda: losses.rmpr(X, Z, relative="yes"), TypeError, "relative must be True or False"),
    "no clip": (lambda: losses.wbm(Q, TREATED, PHI, clip=None), TypeError, "clip must be a number, got NoneType"),
    "no gamma": (lambda: losses.escfr_discrepancy(PHI, TREATED, Y, OTHER, gamma=None), TypeError, "gamma must be a number"),
    "epsilon by position": (lambda: losses.wbm(Q, TREATED, PHI, 0.1), TypeError, "takes 3 positional arguments but 4"),
    "epsilon of rmpr by position": (lambda: losses.rmpr(X, Z, None, None, 0.1), TypeError, "positional argument"),
    "epsilon as text": (lambda: losses.rmpr(X, Z, relative=True, epsilon="0.1"), TypeError, "epsilon must be a number.*got '0.1'"),
    "relative epsilon": (lambda: losses.rmpr(X, Z, relative=True, epsilon=-0.1), ValueError, "epsilon must be positive and finite, got -0.1"),
    "three kappas": (lambda: losses.rmpr(X, Z, relative=True, kappa=(1, 1, 1)), ValueError, "pair .rows, columns., got 3 values"),
    "divergence's epsilon": (lambda: losses.sinkhorn_divergence(X, Z, epsilon=-1.0), ValueError, "epsilon must be positive and finite, got -1.0"),
    "sparse points": (lambda: losses.wbm(Q, TREATED, PHI.to_sparse()), TypeError, "representation must be a dense tensor"),
    "numpy propensities": (lambda: losses.inverse_propensity_masses(Q.numpy()), TypeError, "propensity must be a torch.Tensor, got ndarray"),
    "propensity 0": (lambda: losses.inverse_propensity_masses(Q * 0), ValueError, r"propensity must be in \(0, 1\], got propensity\[0\] = 0.0"),
    "propensity 2": (lambda: losses.inverse_propensity_masses(Q + 2), ValueError, r"propensity must be in \(0, 1\]"),
    "numpy weights": (lambda: losses.effective_sample_size(Q.numpy()), TypeError, "masses must be a torch.Tensor, got ndarray"),
    "negative weights": (lambda: losses.effective_sample_size(-Q), ValueError, r"masses must be at least 0, got masses\[0\] = -"),
    "numpy points": (lambda: losses.squared_distances(X.numpy(), Z), TypeError, "x must be a torch.Tensor, got ndarray"),
    "one coordinate": (lambda: losses.squared_distances(X[:, :1], Z), ValueError, "y must have the 1 coordinates of x"),
    "a vector of points": (lambda: losses.squared_distances(X[:, 0], Z[:, 0]), ValueError, "x must have shape"),
    "two types": (lambda: losses.squared_distances(X.double(), Z), TypeError, "y must have the type of x, torch.float64"),
    "points of pfor": (lambda: losses.pfor_cost(X.numpy(), Z, *OUTCOMES, gamma=0.1), TypeError, "treated must be a torch.Tensor, got ndarray"),
    "width of pfor": (lambda: losses.pfor_cost(X, Z[:, :1], *OUTCOMES, gamma=0.1), ValueError, "untreated must have the 3 coordinates of treated"),
    "bandwidth's points": (lambda: losses.median_bandwidth(X, Z[:, :2]), ValueError, "y must have the 3 coordinates of x"),
    "one point": (lambda: losses.median_bandwidth(X[:1], Z[:0]), ValueError, "at least 2 points together, got 1"),
    "negative masses": (lambda: losses.mmd(X, Z, -torch.ones(6), torch.ones(10)), ValueError, r"a must be at least 0, got a\[0\] = -1.0"),
    "no mass": (lambda: losses.linear_discrepancy(X, Z, torch.ones(6), torch.zeros(10)), ValueError, "b must have a total above 0"),
    "module's epsilon": (lambda: losses.WBMLoss(epsilon="x"), TypeError, "epsilon must be a number.*got 'x'"),
    "module's kappa": (lambda: losses.RMPRLoss(kappa=(1.0, 0.0)), ValueError, r"kappa\[1\] must be positive"),
    "module's tol": (lambda: losses.ESCFRLoss(tol=-1), ValueError, "tol must be finite and at least 0"),
    "module's max_iter": (lambda: losses.SinkhornDivergence(max_iter=1.5), TypeError, "max_iter must be an int, got float"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_one_error_names_the_argument(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()


def test_numbers_of_numpy_are_numbers():
    """Grids and optimisers hand over numpy's scalars."""
    found = losses.wbm(
        Q, TREATED, PHI, clip=np.float32(0.25), epsilon=np.float32(0.5), tol=np.float32(1e-5), max_iter=np.int64(200)
    )
    expected = losses.wbm(Q, TREATED, PHI, clip=0.25, epsilon=0.5, tol=1e-5, max_iter=200)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
def test_points_that_all_coincide_are_balanced(dtype, detach):
    """The mean cost is 0, and nothing can be divided by it: distance 0, gradient 0."""
    q, same = Q.to(dtype).requires_grad_(), torch.full((16, 3), 0.3, dtype=dtype, requires_grad=True)
    values = (
        losses.wbm(q, TREATED, same, scale_cost=True, epsilon=0.1, detach_representation=detach),
        losses.rmpr(same[:6], same[6:], relative=True, epsilon=0.1, kappa=float("inf")),
        losses.escfr_discrepancy(same, TREATED, gamma=0.0, relative=True),
        losses.sinkhorn_divergence(same[:6], same[6:]),
        losses.rmpr(same[:6], same[6:], kappa=float("inf")),
    )
    for value in values:
        assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
        for gradient in torch.autograd.grad(value, [q, same], allow_unused=True, retain_graph=True):
            assert gradient is None or float(gradient.abs().max()) == pytest.approx(0.0, abs=1e-6)


def test_no_weight_at_all_is_no_sample():
    assert losses.effective_sample_size(torch.zeros(2, 3)).tolist() == [0.0, 0.0]
    assert float(losses.effective_sample_size(torch.zeros(0))) == 0.0
