"""ESCFR: its limits are TARNet and CFR-WASS; cost, plan, gradients and diagnostics are those of Algorithm 3."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from wbm_ext import losses, solve
from wbm_ext.ite import create
from wbm_ext.ite.batches import Batch

QUICK = {"preset": "paper", "epochs": 4, "batch_size": 32, "start_epoch": 1, "random_state": 3, "selection": None}


def state(model: Any) -> dict[str, torch.Tensor]:
    return model.model_.state_dict()


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(tensor, state(right)[name]) for name, tensor in state(left).items())


def batch_of(problem: Any, model: Any, dtype: torch.dtype = torch.float64) -> Batch:
    """12 treated and 9 untreated units, as the loop would hand them over."""
    treated, untreated = np.flatnonzero(problem.treatment)[:12], np.flatnonzero(problem.treatment == 0)[:9]
    order = np.concatenate([treated, untreated])
    y = (problem.y[order] - model.location_) / model.spread_
    return Batch(torch.tensor(problem.X[order], dtype=dtype), torch.tensor(y, dtype=dtype), 12)


@pytest.mark.parametrize("name", ["escfr", "cfr-wass", "cfr-mmd"])
def test_without_weight_it_is_tarnet_bit_for_bit(name: str, problem: Any) -> None:
    model = create(name, **QUICK, balance_weight=0.0).fit(**problem.arguments)
    tarnet = create("tarnet", **{key: value for key, value in QUICK.items() if key != "start_epoch"})
    tarnet.fit(**problem.arguments)
    assert same(model, tarnet)
    np.testing.assert_array_equal(model.effect(problem.X), tarnet.effect(problem.X))
    assert model.history_.column("factual") == tarnet.history_.column("factual")
    assert not same(create(name, **QUICK).fit(**problem.arguments), tarnet)


@pytest.mark.parametrize("cost_scale", [1.0, 0.1])
def test_all_mass_and_no_outcomes_is_cfr_wass(cost_scale: float, problem: Any) -> None:
    escfr = create("escfr", **QUICK, kappa=math.inf, gamma=0.0, cost_scale=cost_scale).fit(**problem.arguments)
    wass = create("cfr-wass", **QUICK, cost_scale=cost_scale).fit(**problem.arguments)
    assert same(escfr, wass)
    assert escfr.history_.column("transported_mass")[1:] == pytest.approx([1.0] * 3)
    for changed in ({"kappa": 1.0}, {"gamma": 0.01}):
        params = {"kappa": math.inf, "gamma": 0.0, **changed}
        assert not same(create("escfr", **QUICK, cost_scale=cost_scale, **params).fit(**problem.arguments), wass)


@pytest.mark.parametrize("reference", ["entropy", "product"])
def test_the_plan_is_the_minimiser_for_the_cost_of_equation_12(reference: str, problem: Any) -> None:
    options = {"gamma": 0.03, "cost_scale": 0.5, "kappa": 0.7, "epsilon": 0.4, "reference": reference, "tol": 1e-9}
    model = create("escfr", **QUICK, dtype="float64", **options).fit(**problem.arguments)
    X, y, t = problem.X[:30], problem.y[:30], problem.treatment[:30]
    given = model.transport_plan(X, y, treatment=t)
    np.testing.assert_array_equal(given.treated, np.flatnonzero(t))

    i, j = given.treated, given.untreated
    r, outcomes = model.represent(X), model.predict_outcomes(X)
    cost = np.empty((len(i), len(j)))
    for row, a in enumerate(i):
        for column, b in enumerate(j):
            outcome = (outcomes[a, 0] - y[b]) ** 2 + (outcomes[b, 1] - y[a]) ** 2
            cost[row, column] = 0.5 * ((r[a] - r[b]) ** 2).sum() + 0.03 * outcome
    np.testing.assert_allclose(given.cost, cost, rtol=1e-8)
    expected = solve(torch.tensor(cost), epsilon=0.4, kappa=0.7, reference=reference, tol=1e-10).plan.numpy()
    np.testing.assert_allclose(given.plan, expected, atol=1e-8)
    assert given.discrepancy == pytest.approx((cost * expected).sum())
    assert given.transported_mass == pytest.approx(expected.sum())
    assert given.residual < 1e-8


def test_references_differ_in_mass(problem: Any) -> None:
    mass = {}
    for reference in ("entropy", "product"):
        model = create("escfr", **QUICK, reference=reference).fit(**problem.arguments)
        mass[reference] = model.history_.column("transported_mass")[-1]
    # n m pairs of no cost carry (n m)^(ε/(ε + 2κ)) in total with the first, 1 with the second
    assert mass["product"] < 1 < mass["entropy"] < (16 * 16) ** (1 / 3)


def test_the_gradient_is_that_of_the_cost_under_a_constant_plan(problem: Any) -> None:
    model = create("escfr", **QUICK, dtype="float64", gamma=0.05, tol=1e-9).fit(**problem.arguments)
    batch = batch_of(problem, model)
    r = model.model_.represent(batch.x).detach().requires_grad_()
    outcomes = model.model_.heads(r).detach().requires_grad_()
    value = model._discrepancy(batch, r, outcomes)
    by_r, by_outcomes = torch.autograd.grad(value, (r, outcomes))

    with torch.no_grad():
        plan = losses.escfr_transport(
            r, torch.arange(21) < 12, batch.y, torch.cat([outcomes[0, :12], outcomes[1, 12:]]), gamma=0.05, tol=1e-9
        ).result.plan
    cost = 0.1 * torch.cdist(r[:12], r[12:]).square()
    without, with_ = outcomes[0, :12, None] - batch.y[None, 12:], outcomes[1, None, 12:] - batch.y[:12, None]
    expected = (plan * (cost + 0.05 * (without.square() + with_.square()))).sum()
    grad_r, grad_outcomes = torch.autograd.grad(expected, (r, outcomes))
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(by_r, grad_r, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(by_outcomes, grad_outcomes, rtol=1e-7, atol=1e-9)
    # φ_0 is pulled at treated units, φ_1 at untreated ones, and neither at its own.
    assert (by_outcomes[0, :12] != 0).all()
    assert (by_outcomes[1, 12:] != 0).all()
    assert (by_outcomes[0, 12:] == 0).all()
    assert (by_outcomes[1, :12] == 0).all()


@pytest.mark.parametrize(
    "params", [{}, {"gamma": 0.0}, {"kappa": math.inf}, {"reference": "product"}, {"detach_outcomes": True}]
)
def test_value_and_gradient_are_those_of_the_public_loss(params: dict[str, Any], problem: Any) -> None:
    model = create("escfr", **QUICK, dtype="float64", **{"gamma": 0.05, "tol": 1e-9, **params}).fit(**problem.arguments)
    batch = batch_of(problem, model)
    weights = list(model.model_.parameters())
    treatment = torch.arange(21) < 12

    r = model.model_.represent(batch.x)
    outcomes = model.model_.heads(r)
    expected = losses.escfr_discrepancy(
        r,
        treatment,
        batch.y,
        torch.cat([outcomes[0, :12], outcomes[1, 12:]]),
        gamma=model.gamma,
        kappa=model.kappa,
        reference=model.reference,
        detach_outcomes=model.detach_outcomes,
        tol=1e-9,
    )
    value = model._discrepancy(batch, r, outcomes)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0.0)
    gradients = [
        torch.autograd.grad(3 * term, weights, retain_graph=True, allow_unused=True) for term in (value, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if ours is None else ours, zero if theirs is None else theirs, rtol=1e-6, atol=1e-9
        )


def test_detached_outcomes_act_on_the_plan_alone(problem: Any) -> None:
    model = create("escfr", **QUICK, dtype="float64", gamma=0.05, detach_outcomes=True).fit(**problem.arguments)
    batch = batch_of(problem, model)
    r = model.model_.represent(batch.x)
    value = model._discrepancy(batch, r, model.model_.heads(r))
    assert all(
        grad is None
        for grad in torch.autograd.grad(
            value, list(model.model_.heads.parameters()), allow_unused=True, retain_graph=True
        )
    )
    plain = model.set_params(gamma=0.0)._discrepancy(batch, r, model.model_.heads(r))
    first = model.model_.represent.layers[0].weight
    assert not torch.allclose(*(torch.autograd.grad(term, first, retain_graph=True)[0] for term in (value, plain)))


def test_a_batch_of_one_group_has_no_discrepancy_and_is_counted(problem: Any) -> None:
    treated = problem.treatment == 1
    few = np.concatenate([np.flatnonzero(treated)[:3], np.flatnonzero(~treated)[:93]])
    model = create("escfr", **{**QUICK, "start_epoch": 0}).fit(problem.X[few], problem.y[few], treatment=treated[few])
    # 3 treated units in 3 batches of 32: a batch without one has 3 ways in 10 or so
    assert 0 < np.mean(model.history_.column("one_group")) < 1
    whole = create("escfr", **{**QUICK, "batch_size": 1, "start_epoch": 0}).fit(
        problem.X[few], problem.y[few], treatment=treated[few]
    )
    assert whole.history_.column("one_group") == [1.0] * 4
    tarnet = create("tarnet", preset="paper", epochs=4, batch_size=1, random_state=3, selection=None)
    assert same(whole, tarnet.fit(problem.X[few], problem.y[few], treatment=treated[few]))


def test_transport_joins_after_the_start_epoch(problem: Any) -> None:
    model = create("escfr", **{**QUICK, "start_epoch": 2}).fit(**problem.arguments)
    present = ["discrepancy" in record for record in model.history_.records]
    assert present == [False, False, True, True]
    last = model.history_.records[-1]
    assert last["balance"] == pytest.approx(last["discrepancy"])
    assert last["loss"] == pytest.approx(last["factual"] + last["balance"])
    assert 0 < last["residual"] < 1e-4
    doubled = create("escfr", **{**QUICK, "start_epoch": 2, "balance_weight": 2.0}).fit(**problem.arguments)
    record = doubled.history_.records[-1]
    assert record["balance"] == pytest.approx(2 * record["discrepancy"])


def test_group_sums_are_those_of_equation_13(problem: Any) -> None:
    model = create("escfr", **QUICK, dtype="float64", factual_loss="groups").fit(**problem.arguments)
    batch = batch_of(problem, model)
    with torch.no_grad():
        outcomes = model.model_.heads(model.model_.represent(batch.x))
        treated, untreated = (outcomes[1, :12] - batch.y[:12]).square(), (outcomes[0, 12:] - batch.y[12:]).square()
        expected = treated.sum() / 12 + untreated.sum() / 9
        assert float(model._factual_error(batch, outcomes)) == pytest.approx(float(expected))
        model.set_params(factual_loss="batch")
        assert float(model._factual_error(batch, outcomes)) == pytest.approx(
            float((treated.sum() + untreated.sum()) / 21)
        )
        alone = Batch(batch.x[:12], batch.y[:12], 12)
        model.set_params(factual_loss="groups")
        assert float(model._factual_error(alone, outcomes[:, :12])) == pytest.approx(float(treated.mean()))


def test_gamma_is_in_units_of_the_outcome_also_when_it_is_scaled(problem: Any) -> None:
    params = {**QUICK, "gamma": 0.05, "dtype": "float64"}
    plain = create("escfr", **params).fit(**problem.arguments)
    scaled = create("escfr", **params, scale_outcome=True).fit(**problem.arguments)
    for model in (plain, scaled):
        given = model.transport_plan(problem.X[:20], problem.y[:20], treatment=problem.treatment[:20])
        outcomes, y = model.predict_outcomes(problem.X[:20]), problem.y[:20]
        r = model.represent(problem.X[:20])
        a, b = given.treated[0], given.untreated[0]
        expected = 0.1 * ((r[a] - r[b]) ** 2).sum() + 0.05 * (
            (outcomes[a, 0] - y[b]) ** 2 + (outcomes[b, 1] - y[a]) ** 2
        )
        assert given.cost[0, 0] == pytest.approx(expected)


def test_a_plan_needs_both_groups_and_outcomes_where_they_count(problem: Any) -> None:
    model = create("escfr", **QUICK).fit(**problem.arguments)
    X, t = problem.X[:20], problem.treatment[:20]
    with pytest.raises(ValueError, match=r"y must be given: with gamma=0\.0005"):
        model.transport_plan(X, treatment=t)
    with pytest.raises(ValueError, match="got 20 treated and 0 untreated"):
        model.transport_plan(X, problem.y[:20], treatment=np.ones(20))
    plan = create("cfr-wass", **QUICK).fit(**problem.arguments).transport_plan(X, treatment=t).plan
    np.testing.assert_allclose(plan.sum(1), 1 / t.sum(), rtol=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kappa": 0.0}, "kappa must be a finite number > 0 or inf; got 0.0"),
        ({"gamma": -1.0}, "gamma must be a finite number >= 0"),
        ({"epsilon": math.inf}, "epsilon must be a finite number > 0"),
        ({"cost_scale": 0.0}, "cost_scale must be"),
        ({"balance_weight": -1.0}, "balance_weight must be"),
        ({"start_epoch": -1}, "start_epoch must be an integer of at least 0"),
        ({"reference": "kl"}, "reference='kl' does not exist"),
        ({"factual_loss": "sum"}, "factual_loss='sum' does not exist"),
        ({"selection": "pehe"}, "did you mean 'matched_pehe'"),
        ({"representation": (0,)}, "each width of representation must be an integer of at least 1"),
        ({"device": "gpu"}, "device must be a torch device"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(params: dict[str, Any], message: str, small: Any) -> None:
    with pytest.raises(ValueError, match=message):
        create("escfr", **params).fit(**small.arguments)
