"""The registered operators under torch's own checks."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.library import opcheck

import wbm_ext
from problems import CASE_IDS, CASES, random_problem
from wbm_ext.solver.problem import AUTO, ENTROPY, GRADIENTS, IMPLICIT, MARGINAL, PRODUCT, REFERENCES, UNROLLED


def _arguments(kind: str, gradient: int, requires_grad: bool, ref: str = "entropy"):
    p = random_problem(kind, 6, 5, batch=(3,), seed=1)
    inputs = [x.clone().requires_grad_(requires_grad) for x in (p.D, p.a, p.b)]
    epsilon = torch.full((3,), 0.4, dtype=torch.float64)
    kappa = torch.tensor([p.kappa] * 3, dtype=torch.float64)
    # unrolled: a fixed number, for the slots of iterations that were not run are not written
    stop = (0.0, 5) if gradient == UNROLLED else (1e-9, 500)
    return (*inputs, epsilon, kappa, None, REFERENCES[ref], AUTO, MARGINAL, gradient, *stop, None)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_opcheck_of_solve(kind, ref, gradient):
    for requires_grad in (False, True):
        opcheck(torch.ops.wbm_ext.solve.default, _arguments(kind, gradient, requires_grad, ref))


def test_opcheck_with_mask_start_strengths_and_strides():
    """Masks, a warm start, epsilon and kappa with gradients, default (float64) masses, an expanded and a transposed D."""
    D, _, b, epsilon, kappa, *_ = _arguments("unbalanced", IMPLICIT, False)
    mask = torch.ones(3, 6, 5, dtype=torch.bool)
    mask[:, 1, :2] = False
    start = torch.zeros(3, 5, dtype=torch.float64)
    strengths = (epsilon.requires_grad_(), kappa.requires_grad_())
    uniform = torch.full((3, 6), 1 / 6, dtype=torch.float64)
    options = (PRODUCT, AUTO, MARGINAL, IMPLICIT, 1e-9, 500, start)
    expanded, transposed = D[0].float().expand(3, 6, 5), D.mT.contiguous().float().mT
    for epsilon in (strengths[0], None):
        opcheck(torch.ops.wbm_ext.solve.default, (D, uniform, b, epsilon, strengths[1], mask, *options))
    for cost in (expanded, transposed.requires_grad_()):
        opcheck(torch.ops.wbm_ext.solve.default, (cost, uniform, b.float(), *strengths, mask, *options))
        opcheck(torch.ops.wbm_ext.mean_cost.default, (cost.detach(), uniform, b.float(), mask))


def test_opcheck_of_mean_cost_and_the_backward():
    D, a, b, epsilon, kappa, *_ = _arguments("balanced", IMPLICIT, False)
    opcheck(torch.ops.wbm_ext.mean_cost.default, (D, a, b, None))
    out = torch.ops.wbm_ext.solve(*_arguments("balanced", IMPLICIT, False))
    ones = torch.ones(3, dtype=torch.float64)
    upstream = (ones, ones, torch.zeros_like(out[2]), torch.zeros_like(out[3]))
    for requires_grad in (False, True):
        real = [x.detach().clone().requires_grad_(requires_grad) for x in (*upstream, D, a, b, epsilon, kappa)]
        potentials = [x.detach().clone().requires_grad_(requires_grad) for x in out[2:4]]
        opcheck(
            torch.ops.wbm_ext.solve_backward.default, (*real, None, ENTROPY, *potentials, out[6], out[8], IMPLICIT, 500)
        )


@pytest.mark.slow
@pytest.mark.parametrize("grad", ["implicit", "unrolled", "frozen"])
def test_compiled_without_a_graph_break(grad):
    p = random_problem("unbalanced", 8, 6, seed=0)

    def loss(D, a):
        return wbm_ext.sinkhorn(D.square(), a, epsilon=0.5, kappa=1.0, grad=grad) * 2

    grads = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        D, a = p.D.clone().requires_grad_(), p.a.clone().requires_grad_()
        value = function(D, a)
        value.backward()
        grads.append((value.detach(), D.grad, a.grad))
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y)


def test_the_module_form_copies_and_pickles():
    loss = wbm_ext.losses.WBMLoss(against="all", epsilon=0.1)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.extra_repr() == loss.extra_repr()


def test_grad_mode_is_left_alone():
    D = torch.rand(4, 3, requires_grad=True)
    with torch.no_grad():
        value = wbm_ext.sinkhorn(D)
        assert not torch.is_grad_enabled()
    assert not value.requires_grad
    with torch.inference_mode():
        assert float(wbm_ext.sinkhorn(D)) == pytest.approx(float(value))
