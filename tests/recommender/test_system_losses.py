"""The loss terms of each system on hand-made batches: values, weights, and who gets a gradient from what."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from unfitted import BATCH, TREATED, gradients, ready

from wbm_ext import losses
from wbm_ext.datasets import Ratings, RatingsDataset
from wbm_ext.errors import BalanceWarning
from wbm_ext.recommender import create
from wbm_ext.recommender.objectives import propensity_loss
from wbm_ext.recommender.systems.ips import IPS


def errors(model: Any) -> torch.Tensor:
    """Return -y log r - (1 - y) log(1 - r) from the definition r = sigmoid(<U, V> + biases)."""
    net = model.model_
    inner = (net.embeddings.user[BATCH.users] * net.embeddings.item[BATCH.items]).sum(1)
    r = torch.sigmoid(inner + net.user_bias[BATCH.users] + net.item_bias[BATCH.items] + net.bias)
    return -(BATCH.labels * r.log() + (1 - BATCH.labels) * (1 - r).log())


def test_naive_is_the_mean_error_of_the_batch() -> None:
    model = ready("naive")
    observed = BATCH.take(TREATED)
    assert model._terms(observed)["prediction"].item() == pytest.approx(errors(model)[TREATED].mean().item())


@pytest.mark.parametrize("normalise", ["none", "snips"])
def test_ips_weighs_errors_by_clipped_inverse_propensities(normalise: str) -> None:
    model = ready("ips", normalise=normalise, floor=0.3)
    fixed = torch.tensor([0.05, 0.5, 0.9], dtype=torch.float64)  # the first below the floor
    model._propensity = lambda users, items: fixed
    observed = BATCH.take(TREATED)._replace(weight=torch.full((3,), 1 / 3).double())
    e = errors(model)[TREATED]
    inverse = torch.tensor([1 / 0.3, 2.0, 1 / 0.9], dtype=torch.float64)
    expected = 3 / 12 * (inverse * e).mean() if normalise == "none" else (inverse * e).sum() / inverse.sum()
    assert model._terms(observed)["prediction"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_default_floor_is_a_quarter_of_the_density() -> None:
    assert ready("ips").floor_ == pytest.approx(3 / 12 / 4)
    assert ready("ips-wbm", floor=0.2).floor_ == 0.2


@pytest.mark.parametrize("normalise", ["none", "snips"])
def test_ips_wbm_terms_are_the_formula(normalise: str) -> None:
    model = ready("ips-wbm", normalise=normalise, propensity_weight=0.5, balance_weight=2.0, floor=0.1, tol=1e-9)
    net = model.model_
    x = torch.cat([net.embeddings.user[BATCH.users], net.embeddings.item[BATCH.items]], dim=1)
    tower = net.propensity
    hidden = torch.relu(x @ tower.hidden.weight.T)
    q = torch.sigmoid(hidden @ tower.output.weight[0] + tower.output.bias)
    terms = model._terms(BATCH)

    inverse = 1 / q.clamp(0.1, 1)
    weighted = BATCH.weight * inverse * errors(model)
    expected = weighted[TREATED].sum()
    if normalise == "snips":
        expected = expected / (BATCH.weight * inverse)[TREATED].sum()
    assert terms["prediction"].item() == pytest.approx(expected.item())

    o = BATCH.observed.double()
    nll = -(BATCH.weight * (o * q.log() + (1 - o) * (1 - q).log())).sum()
    assert terms["propensity"].item() == pytest.approx(0.5 * nll.item())

    wbm = losses.wbm(q, BATCH.observed, x, clip=0.1, scale_cost=True, tol=1e-9)
    assert wbm.item() > 0
    assert terms["balance"].item() == pytest.approx(2.0 * wbm.item())
    assert set(terms) == {"prediction", "propensity", "balance"}


def test_who_learns_from_what() -> None:
    model = ready("ips-wbm", floor=0.01)
    terms = model._terms(BATCH)
    embeddings = ["embeddings.user", "embeddings.item"]
    tower = ["propensity.hidden.weight", "propensity.output.weight"]

    from_error = gradients(model, terms["prediction"])
    assert all(from_error[name] == 0 for name in [*tower, "propensity.output.bias"])
    assert all(from_error[name] > 0 for name in [*embeddings, "user_bias", "bias"])

    from_balance = gradients(model, terms["balance"])
    assert all(from_balance[name] == 0 for name in [*embeddings, "user_bias", "item_bias", "bias"])
    assert all(from_balance[name] > 0 for name in tower)

    from_likelihood = gradients(model, terms["propensity"])
    assert all(from_likelihood[name] > 0 for name in [*embeddings, *tower])


def test_labels_of_unobserved_pairs_are_never_read() -> None:
    model = ready("ips-wbm")
    labels = BATCH.labels.clone()
    labels[~BATCH.observed] = float("nan")
    left, right = model._terms(BATCH), model._terms(BATCH._replace(labels=labels))
    for name in left:
        assert left[name].item() == right[name].item()
    assert all(np.isfinite(value) for value in gradients(model, sum(model._terms(BATCH).values())).values())


@pytest.mark.parametrize("group", [True, False])
def test_one_group_batches_have_no_balance_and_are_counted(group: bool) -> None:
    model = ready("ips-wbm")
    part = BATCH.take(BATCH.observed == group)
    terms = model._terms(part)
    assert terms["balance"].item() == 0.0
    assert model.one_group_batches_ == 1
    sum(terms.values()).backward()
    grads = [parameter.grad for parameter in model.model_.parameters() if parameter.grad is not None]
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)
    model._terms(BATCH)
    assert model.one_group_batches_ == 1


def test_balance_weight_zero_leaves_transport_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ready("ips-wbm", balance_weight=0.0)
    monkeypatch.setattr(losses, "wbm", lambda *_, **__: pytest.fail("transport was solved"))
    assert set(model._terms(BATCH)) == {"prediction", "propensity"}


def test_literal_mode_has_no_likelihood_and_softmax_masses(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(propensity: torch.Tensor, *_: Any, **options: Any) -> torch.Tensor:
        seen.update(options)
        return propensity.sum()

    monkeypatch.setattr(losses, "wbm", spy)
    model = ready("ips-wbm", mode="paper-literal")
    assert set(model._terms(BATCH)) == {"prediction", "balance"}
    assert seen["masses"] == "softmax"


@pytest.mark.parametrize(("mode", "rate"), [("calibrated", None), ("paper-literal", 0.5)])
def test_propensities_start_at_the_density_or_at_one_half(mode: str, rate: float | None, tiny: RatingsDataset) -> None:
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1, "random_state": 0}
    model = create("ips-wbm", mode=mode, **still).fit(tiny.train)
    expected = tiny.train.density if rate is None else rate
    np.testing.assert_allclose(model.propensity(tiny.test.users, tiny.test.items), expected, rtol=1e-4)


@pytest.mark.parametrize("params", [{"mode": "paper-literal"}, {"sampling": "uniform", "against": "all"}])
def test_the_other_modes_fit(params: dict[str, Any], tiny: RatingsDataset) -> None:
    model = create("ips-wbm", epochs=2, random_state=0, **params).fit(tiny.train)
    assert model.one_group_batches_ == 0
    assert np.isfinite(model.predict(tiny.test.users, tiny.test.items)).all()


def test_history_holds_terms_and_diagnostics(tiny: RatingsDataset) -> None:
    model = create("ips-wbm", epochs=2, random_state=0).fit(tiny.train)
    expected = {"loss", "prediction", "propensity", "balance", "validation", "clipped_share", "wbm"}
    sides = {f"{kind}_{side}" for kind in ("ess", "largest_share") for side in ("treated", "untreated")}
    assert expected | sides <= set(model.history_.records[-1])
    assert model.history_.column("wbm")[-1] > 0


def test_collapsed_weights_are_warned_of_once(tiny: RatingsDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one item's propensities are a thousandth of the others', its few ratings hold all the weight."""

    def skewed(self: IPS, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.where(items == 1, 5e-4, 0.5)

    monkeypatch.setattr(IPS, "_propensity", skewed)
    model = create("ips", floor=1e-6, epochs=1, random_state=0)
    with pytest.warns(BalanceWarning, match=r"ips: the weights of the treated pairs.*raise floor") as caught:
        model.fit(tiny.train)
    assert len([w for w in caught if w.category is BalanceWarning]) == 1
    assert caught[0].filename == __file__


def test_sound_weights_are_not_warned_of(tiny: RatingsDataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", BalanceWarning)
        create("ips", epochs=1, random_state=0).fit(tiny.train)


def test_stage_one_recovers_true_propensities() -> None:
    """Popularity alone drives observation: q is additive in the log odds, and stage 1 must order and size it."""
    rng = np.random.default_rng(1)
    truth = 1 / (1 + np.exp(-(rng.normal(-1.5, 0.3, (150, 1)) + rng.normal(0, 1.0, (1, 120)))))
    users, items = np.nonzero(rng.random(truth.shape) < truth)
    ratings = Ratings(users, items, rng.integers(1, 6, len(users)), 150, 120)
    model = create("ips", epochs=30, random_state=0).fit(ratings)
    everywhere = np.indices(truth.shape).reshape(2, -1)
    estimate = model.propensity(*everywhere).reshape(truth.shape)
    assert estimate.mean() == pytest.approx(truth.mean(), rel=0.05)
    assert np.corrcoef(estimate.ravel(), truth.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("loss", ["nll", "mse"])
def test_stage_one_losses(loss: str) -> None:
    logit = torch.tensor([-1.0, 0.0, 1.0, 2.0, -2.0], dtype=torch.float64)
    q, o = torch.sigmoid(logit), BATCH.observed.double()
    each = (q - o) ** 2 if loss == "mse" else -(o * q.log() + (1 - o) * (1 - q).log())
    assert propensity_loss(loss, logit, BATCH).item() == pytest.approx((BATCH.weight * each).sum().item())
