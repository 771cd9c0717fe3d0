"""The result as an object: the backward's residual, copies, pickles, another process."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import wbm_ext
from problems import CASE_IDS, CASES, random_problem
from wbm_ext import ConvergenceWarning

NAMES = ("cost", "regularized_cost", "f", "g", "plan", "residual", "iterations", "status", "epsilon")


def _solved(batch=(2,), **options):
    p = random_problem("balanced", 6, 5, batch=batch, seed=1)
    p.D.requires_grad_()
    p.a.requires_grad_()
    return p, wbm_ext.solve(p.D, p.a, p.b, epsilon=0.4, **options)


@pytest.mark.parametrize(("kind", "ref"), CASES, ids=CASE_IDS)
def test_the_backward_leaves_the_residual_of_its_linear_system(kind, ref):
    p = random_problem(kind, 12, 9, batch=(2, 3), seed=1)
    D = p.D.clone().requires_grad_()
    result = wbm_ext.solve(D, p.a, p.b, epsilon=0.4, kappa=p.kappa, reference=ref)
    assert result.backward_residual is None
    result.cost.sum().backward()
    residual = result.backward_residual
    assert residual.shape == (2, 3)
    assert residual.dtype == torch.float64
    assert not residual.requires_grad
    assert bool((residual < 1e-10).all())
    assert bool((residual >= 0).all())


def test_the_backward_residual_is_that_of_the_last_backward():
    p, result = _solved()
    torch.autograd.grad(result.regularized_cost.sum(), p.D, retain_graph=True)
    assert not bool(result.backward_residual.any())  # no system to solve
    (first,) = torch.autograd.grad(result.cost.sum(), p.D, create_graph=True)
    assert bool(result.backward_residual.any())
    first.sum().backward()


def test_gradients_that_solve_no_system_report_zero():
    for grad in ("frozen", "unrolled"):
        _, result = _solved(batch=(), grad=grad)
        result.cost.backward()
        assert float(result.backward_residual) == 0.0


def test_an_inexact_backward_warns_at_the_callers_line(monkeypatch):
    from wbm_ext.solver import autograd

    monkeypatch.setattr(autograd, "FAITHFUL", 0.0)
    p = random_problem("balanced", 30, 30, seed=1)
    D = p.D.clone().requires_grad_()
    options = {"epsilon": 0.4, "tol": 0.0, "max_iter": 50}
    value = wbm_ext.sinkhorn(D, p.a, p.b, **options)
    with pytest.warns(ConvergenceWarning, match=r"backward's linear system .* residual of .*; raise epsilon") as seen:
        value.backward()
    assert [w.filename for w in seen] == [__file__]
    unread = wbm_ext.sinkhorn(D, p.a, p.b, validate="none", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unread.backward()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: x.detach()])
def test_copies_hold_the_values_without_the_graph(copied):
    _, result = _solved()
    result.cost.sum().backward()
    other = copied(result)
    for name in NAMES:
        x, y = getattr(result, name), getattr(other, name)
        assert torch.equal(x, y), name
        assert not y.requires_grad
    assert torch.equal(other.backward_residual, result.backward_residual)
    assert other.status_text() == result.status_text()


def test_a_deep_copy_shares_no_memory_and_a_shallow_one_shares_the_graph():
    p, result = _solved()
    assert copy.deepcopy(result).cost.data_ptr() != result.cost.data_ptr()
    copy.copy(result).cost.sum().backward()
    assert bool(p.D.grad.any())


def test_a_copy_is_a_warm_start():
    p, result = _solved()
    again = wbm_ext.solve(p.D, p.a, p.b, epsilon=0.4, init=pickle.loads(pickle.dumps(result)))
    assert int(again.iterations.max()) == 1


class Results(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, k: int) -> wbm_ext.SinkhornResult:
        return _solved(batch=())[1]


def _as_it_is(items):
    return items


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_results_travel_from_the_workers_of_a_data_loader(start):
    expected = _solved(batch=())[1]
    loader = DataLoader(
        Results(), batch_size=3, num_workers=1, collate_fn=_as_it_is, timeout=60, multiprocessing_context=start
    )
    (batch,) = list(loader)
    assert all(torch.equal(r.plan, expected.plan.detach()) for r in batch)


def test_a_plan_of_a_changed_matrix_is_refused():
    D = torch.rand(4, 4)
    result = wbm_ext.solve(D, epsilon=0.3)
    seen = wbm_ext.solve(D, epsilon=0.3)
    plan = seen.plan
    D *= 5
    assert seen.plan is plan
    copies = (copy.copy(result), copy.deepcopy(result), result.detach(), pickle.loads(pickle.dumps(result)))
    for one in (result, *copies):
        with pytest.raises(RuntimeError, match="D was changed in place after the solve"):
            _ = one.plan
        assert float(one.cost) > 0


def test_a_plan_after_an_optimiser_step_or_in_another_mask_is_refused():
    D = torch.rand(4, 4, requires_grad=True)
    result = wbm_ext.solve(D, epsilon=0.3)
    result.cost.backward()
    torch.optim.SGD([D], 0.1).step()
    with pytest.raises(RuntimeError, match="D was changed in place"):
        _ = result.plan
    mask = torch.ones(4, 4, dtype=torch.bool)
    result = wbm_ext.solve(D.detach(), epsilon=0.3, mask=mask)
    mask[0, 0] = False
    with pytest.raises(RuntimeError, match="mask was changed in place"):
        _ = result.plan


def test_a_result_keeps_its_strength_and_what_nobody_counts_changes_of():
    D, epsilon = torch.rand(4, 4), torch.tensor(0.3, dtype=torch.float64)
    expected, result = wbm_ext.solve(D, epsilon=0.3).plan, wbm_ext.solve(D[None], epsilon=epsilon[None])
    epsilon *= 9
    torch.testing.assert_close(result.plan[0], expected)
    with torch.inference_mode():
        x = D.clone()
        result = wbm_ext.solve(x, epsilon=0.3)
        x *= 5
        torch.testing.assert_close(result.plan, expected)


def test_results_and_their_fields_are_saved_and_loaded(tmp_path):
    D = torch.rand(2, 4, 3, requires_grad=True)
    result = wbm_ext.solve(D, epsilon=0.3, mask=torch.ones(4, 3, dtype=torch.bool).expand(2, 4, 3))
    result.cost.sum().backward()
    torch.save(result, tmp_path / "result")
    names = ("cost", "regularized_cost", "iterations", "residual", "transported_mass", "status", "epsilon", "f", "plan")
    for loaded in (torch.load(tmp_path / "result"), torch.load(tmp_path / "result", weights_only=False)):
        assert isinstance(loaded, wbm_ext.SinkhornResult)
        for name in (*names, "backward_residual"):
            assert torch.equal(getattr(loaded, name), getattr(result, name)), name
        assert not loaded.cost.requires_grad
    torch.save({name: getattr(result, name).detach() for name in names}, tmp_path / "fields")
    assert torch.load(tmp_path / "fields")["iterations"].dtype == torch.int64


def test_a_result_moves_with_its_graph():
    D = torch.rand(4, 3, requires_grad=True)
    result = wbm_ext.solve(D, epsilon=0.3)
    assert result.cpu() is result
    moved = result.to("meta")
    tensors = (moved.cost, moved.f, moved.plan, moved.status, moved.epsilon)
    assert {x.device.type for x in tensors} == {"meta"}
    assert moved.cost.requires_grad
