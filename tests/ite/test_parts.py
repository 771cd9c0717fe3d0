"""Batches, networks, criteria, covariates and weights: each against what it says it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from wbm_ext.errors import DataWarning
from wbm_ext.ite import create
from wbm_ext.ite.batches import Batch, UnitBatches
from wbm_ext.ite.covariates import Covariates
from wbm_ext.ite.disentangled_network import DisentangledModel
from wbm_ext.ite.networks import Heads, RepresentationModel
from wbm_ext.ite.selection import Judges, hold_out, loss_of
from wbm_ext.training import Streams


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches(n: int, size: int, *, drop_last: bool) -> UnitBatches:
    x = torch.arange(n, dtype=torch.float64)
    treated = torch.arange(n) % 3 == 0
    return UnitBatches(x[:, None], 10 * x, treated, size, drop_last=drop_last, generator=seeded())


# ---------------------------------------------------------------------- batches


@pytest.mark.parametrize(("n", "size", "drop_last", "lengths"), [
    (20, 6, True, [6, 6, 6]), (20, 6, False, [6, 6, 6, 2]), (18, 6, True, [6, 6, 6]), (4, 6, True, [4]), (5, 1, True, [1] * 5),
])  # fmt: skip
def test_each_unit_comes_once_with_its_outcome_and_the_treated_come_first(
    n: int, size: int, drop_last: bool, lengths: list[int]
) -> None:
    loader = batches(n, size, drop_last=drop_last)
    epochs = [list(loader) for _ in range(2)]
    for epoch in epochs:
        assert [len(batch.y) for batch in epoch] == lengths
        assert len(loader) == len(lengths)
        units = torch.cat([batch.x[:, 0] for batch in epoch])
        assert len(units.unique()) == len(units)
        for batch in epoch:
            assert torch.equal(batch.y, 10 * batch.x[:, 0])
            assert (batch.x[: batch.treated, 0] % 3 == 0).all()
            assert (batch.x[batch.treated :, 0] % 3 != 0).all()
    if n > size > 1:
        assert not torch.equal(epochs[0][0].x.sort(0).values, epochs[1][0].x.sort(0).values)


def test_one_group_is_seen() -> None:
    x = torch.zeros(3, 1)
    assert [Batch(x, x[:, 0], count).one_group for count in range(4)] == [True, False, False, True]


# ---------------------------------------------------------------------- networks


def test_separate_heads_are_two_networks_and_a_shared_one_is_asked_twice() -> None:
    r = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    options = {"generator": seeded(1), "dtype": torch.float64}
    apart, shared = Heads(3, [4], "elu", **options), Heads(3, [4], "elu", shared=True, **options)
    for head in (0, 1):
        hidden = F.elu(r @ apart.layers[0].weight[head] + apart.layers[0].bias[head])
        expected = hidden @ apart.layers[1].weight[head] + apart.layers[1].bias[head]
        torch.testing.assert_close(apart(r)[head], expected[:, 0])
        given = torch.cat([r, torch.full((5, 1), float(head), dtype=torch.float64)], 1)
        hidden = F.elu(given @ shared.layers[0].weight[0] + shared.layers[0].bias[0])
        torch.testing.assert_close(
            shared(r)[head], (hidden @ shared.layers[1].weight[0] + shared.layers[1].bias[0])[:, 0]
        )


def test_without_a_representation_the_covariates_are_it() -> None:
    x = torch.randn(4, 3, generator=seeded())
    model = RepresentationModel(3, (), (5,), generator=seeded())
    assert torch.equal(model.represent(x), x)
    model = RepresentationModel(3, (7, 2), (5,), activation="tanh", generator=seeded())
    assert model.represent(x).shape == (4, 2)
    assert model.represent(x).abs().max() < 1


# ---------------------------------------------------------------------- criteria


def test_criteria_of_a_case_worked_by_hand() -> None:
    x = np.array([[0.0], [1.0], [5.0], [6.0]])
    y, treated = np.array([4.0, 1.0, 9.0, 6.0]), np.array([True, False, True, False])
    judges = Judges(x, y, treated, (x, y, treated))
    # nearest of the other group: 0-1 and 5-6, so the matched effects are 3, 3, 3, 3
    np.testing.assert_allclose(judges.matched_effect, [3, 3, 3, 3])
    outcomes = np.array([[1.0, 4.0], [1.0, 5.0], [6.0, 8.0], [8.0, 9.0]])
    figures = judges(outcomes)
    assert figures["factual"] == pytest.approx(np.sqrt((0 + 0 + 1 + 4) / 4))
    assert figures["matched_pehe"] == pytest.approx(np.sqrt((0 + 1 + 1 + 4) / 4))
    # effects 3, 4, 2, 1 order the units 2, 1, 3, 4: joint lifts k (mean treated - mean untreated) are (3/2), 6, 16.5, 12
    assert figures["auuc"] == pytest.approx((0 + 1.5 + 2 * 3 + 3 * 5.5 + 4 * 3) / 5 / 12)
    assert loss_of("auuc", figures) == -figures["auuc"]
    assert loss_of("factual", figures) == figures["factual"]


def test_auuc_without_a_difference_of_the_arms_is_left_unnormalised() -> None:
    x, y, treated = np.arange(4.0)[:, None], np.array([1.0, 1.0, 0.0, 0.0]), np.array([True, False, True, False])
    figures = Judges(x, y, treated, (x, y, treated))(np.stack([np.zeros(4), np.arange(4.0)], 1))
    assert np.isfinite(figures["auuc"])


@pytest.mark.parametrize("fraction", [0.01, 0.15, 0.5, 0.99])
def test_both_groups_are_on_both_sides_of_the_hold_out(fraction: float) -> None:
    treated = np.arange(60) % 6 == 0
    held = hold_out(treated, fraction, Streams(0))
    for group in (treated, ~treated):
        count = group[held].sum()
        assert count == min(max(round(fraction * group.sum()), 1), group.sum() - 1)
    np.testing.assert_array_equal(held, hold_out(treated, fraction, Streams(0)))


@pytest.mark.parametrize("selection", ["auuc", "factual", "matched_pehe"])
def test_the_epoch_kept_is_the_best_by_the_criterion_named(selection: str, problem: Any) -> None:
    model = create("tarnet", selection=selection, epochs=15, min_epochs=15, random_state=0).fit(**problem.arguments)
    values = np.array(model.history_.column(f"validation_{selection}"))
    best = values.argmax() if selection == "auuc" else values.argmin()
    assert model.history_.best_epoch == best + 1
    held = hold_out(problem.treatment == 1, model.validation_fraction, Streams(0))
    judges = Judges(
        problem.X[held], problem.y[held], problem.treatment[held] == 1, (problem.X, problem.y, problem.treatment == 1)
    )
    assert judges(model.predict_outcomes(problem.X[held]))[selection] == pytest.approx(values[best])


def test_units_given_to_judge_are_not_trained_on(problem: Any) -> None:
    first, second = slice(0, 300), slice(300, 600)
    train = {"X": problem.X[first], "y": problem.y[first], "treatment": problem.treatment[first]}
    judges = problem.X[second], problem.y[second], problem.treatment[second]
    params = {"epochs": 5, "random_state": 0}
    given = create("tarnet", **params).fit(**train, validation=judges)
    alone = create("tarnet", **params, selection=None).fit(**train)
    watched = create("tarnet", **params, selection=None).fit(**train, validation=judges)
    assert given.history_.column("factual") == alone.history_.column("factual")
    np.testing.assert_array_equal(watched.effect(problem.X), alone.effect(problem.X))
    assert watched.history_.column("validation_auuc") == given.history_.column("validation_auuc")
    with pytest.raises(ValueError, match="validation: treatment must hold at least 1 treated"):
        create("tarnet", **params).fit(**train, validation=(*judges[:2], np.zeros(300)))
    with pytest.raises(TypeError, match="validation must be a tuple of X, y and treatment"):
        create("tarnet", **params).fit(**train, validation=problem.X)


# ---------------------------------------------------------------------- covariates


@pytest.mark.parametrize("scale", [None, "standard", "minmax"])
def test_scaling_is_that_of_the_training_table(scale: str | None) -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([100 * rng.normal(size=50) + 7, rng.uniform(size=50), np.full(50, 3.0)])
    matrix = Covariates(scale=scale)
    scaled = matrix.fit_transform(x)
    other = matrix.transform(x[:5] + 1)
    if scale is None:
        np.testing.assert_array_equal(scaled, x)
    elif scale == "standard":
        np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled.std(0), [1, 1, 0], atol=1e-12)
        np.testing.assert_allclose(other[:, 0], (x[:5, 0] + 1 - x[:, 0].mean()) / x[:, 0].std())
    else:
        np.testing.assert_allclose(scaled.min(0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled.max(0), [1, 1, 0], atol=1e-12)


def test_columns_of_an_array_may_be_named_categorical() -> None:
    x = np.array([[1.0, 3.0], [2.0, 5.0], [3.0, 3.0], [1.0, 4.0]])
    covariates = Covariates(categorical=[1])
    np.testing.assert_array_equal(covariates.fit_transform(x), np.column_stack([x[:, 0], x[:, 1] == 4, x[:, 1] == 5]))
    assert covariates.names == ["0", "1=4", "1=5"]
    with pytest.raises(ValueError, match="the table has no column 7"):
        Covariates(categorical=[7]).fit_transform(x)
    with pytest.raises(TypeError, match="categorical must be 'auto' or a sequence"):
        Covariates(categorical=1).fit_transform(x)


def test_every_kind_of_pandas_column_is_read() -> None:
    frame = pd.DataFrame({
        "flag": [True, False, True],
        "count": pd.array([1, None, 3], dtype="Int64"),
        "kind": pd.Categorical(["u", "v", "u"], categories=["v", "u", "never"]),
        "text": pd.array(["a", "b", None], dtype="string"),
        "mixed": [1, "x", "y"],
    })  # fmt: skip
    covariates = Covariates(missing="indicator")
    with pytest.warns(DataWarning, match="8 columns .* for 3 units"):
        matrix = covariates.fit_transform(frame)
    assert covariates.names == ["flag", "count", "count=missing", "kind=v", "text=a", "text=b", "mixed=x", "mixed=y"]
    expected = [[1, 1, 0, 0, 1, 0, 0, 0], [0, 2, 1, 1, 0, 1, 1, 0], [1, 3, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(matrix, expected)


# ---------------------------------------------------------------------- disentangled systems


def test_weights_are_one_plus_the_odds_of_the_other_group() -> None:
    model = create("drcfr")
    model.treated_share_ = 0.25
    p = torch.tensor([0.5, 0.8, 0.2, 0.999], dtype=torch.float64)
    weights = model._weights(torch.logit(p), 2)
    # treated: 1 + (1/3) (1 - p)/p; untreated: 1 + 3 p/(1 - p); p at most .99
    expected = [1 + 1 / 3, 1 + (1 / 3) * 0.25, 1 + 3 * 0.25, 1 + 3 * 99]
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-9)


def test_factors_enter_where_they_belong() -> None:
    model = DisentangledModel(4, (6,), 2, (5,), generator=seeded(), dtype=torch.float64)
    x = torch.randn(8, 4, generator=seeded(1), dtype=torch.float64)
    r = model.represent(x).detach().requires_grad_()
    uses = {
        "outcomes": (model.heads(r), [False, True, True]),
        "treatment": (model.treatment_logit(r), [True, True, False]),
        "adjustment": (model.adjustment(r), [False, False, True]),
    }
    for name, (value, used) in uses.items():
        grad = torch.autograd.grad(value.square().sum(), r)[0].view(8, 3, 2).abs().sum((0, 2))
        assert (grad > 0).tolist() == used, name
    assert not torch.autograd.grad(model.weighting_logit(r).sum(), r, allow_unused=True)[0]


def test_relevance_is_the_mean_product_of_the_weights() -> None:
    model = DisentangledModel(4, (6,), 2, (5,), generator=seeded(), dtype=torch.float64)
    product = (model.factors.layers[0].weight @ model.common.layers[0].weight).abs()
    for factor in range(3):
        torch.testing.assert_close(model.relevance()[factor], product[2 * factor : 2 * factor + 2].mean(0))


def test_the_penalty_is_that_of_its_formula(small: Any) -> None:
    params = {"epochs": 1, "random_state": 0, "selection": None, "balance_weight": 0.0, "dtype": "float64"}
    model = create("mim-drcfr", **params, orthogonality_weight=3.0).fit(**small.arguments)
    w = model.model_.relevance().detach()
    expected = w[0] @ w[1] + w[0] @ w[2] + w[1] @ w[2] + (w.sum(1) - 1).square().sum()
    batch = Batch(torch.tensor(small.X), torch.tensor(small.y), 3)
    with torch.no_grad():
        r = model.model_.represent(batch.x)
        term = model._penalties(batch, r, model.model_.heads(r))["orthogonality"]
    assert float(term) == pytest.approx(3 * float(expected))
