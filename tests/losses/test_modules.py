"""The module forms: signature, copies, devices, and the path without data-dependent shapes."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch

from problems import generator
from wbm_ext import losses
from wbm_ext.errors import UnknownNameError
from wbm_ext.losses import groups

PAIRS = {
    "WBM": (losses.WBMLoss, losses.wbm, {"against": "all", "masses": "softmax", "clip": 0.1, "min_ess": 0.0}),
    "RMPR": (losses.RMPRLoss, losses.rmpr, {"kappa": (2.0, 1.0), "reference": "product"}),
    "ESCFR": (losses.ESCFRLoss, losses.escfr_discrepancy, {"gamma": 0.1, "reference": "product"}),
    "Sinkhorn": (losses.SinkhornDivergence, losses.sinkhorn_divergence, {"epsilon": 0.3, "cost": "sharp"}),
    "MMD": (losses.MMDLoss, losses.mmd, {"bandwidth": 0.5}),
}


def _batch(seed=0, size=24, k=3):
    rng = generator(seed)
    phi = torch.randn(size, k, generator=rng, dtype=torch.float64)
    z = phi[:, 0].clone()
    y, other = (torch.randn(size, generator=rng, dtype=torch.float64) for _ in range(2))
    return z, torch.rand(size, generator=rng) < z.sigmoid(), phi, y, other


def _tensors(name, seed=0):
    z, t, phi, y, other = _batch(seed)
    if name == "WBM":
        return z.sigmoid(), t, phi
    return (phi, t, y, other) if name == "ESCFR" else (phi[:10], phi[10:] + 0.5)


@pytest.mark.parametrize("name", PAIRS)
def test_a_module_is_its_function(name):
    module, function, options = PAIRS[name]
    tensors = _tensors(name)
    assert torch.equal(module(**options)(*tensors), function(*tensors, **options))
    assert torch.equal(module()(*tensors), function(*tensors))


@pytest.mark.parametrize("name", PAIRS)
def test_the_options_are_written_once(name):
    """``inspect`` and ``help`` show a function's keywords on its module, and the diagnosed form's on the function."""
    module, function, options = PAIRS[name]
    shown = inspect.signature(module).parameters
    keywords = {k: p for k, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert dict(shown) == keywords
    assert set(options) <= set(shown)
    first = next(iter(options))
    changed = module()
    setattr(changed, first, options[first])
    assert repr(changed) == f"{module.__name__}({first}={options[first]!r})"
    assert repr(module()) == f"{module.__name__}()"


@pytest.mark.parametrize("name", losses.__all__)
def test_every_public_name_is_documented_with_an_example(name):
    text = inspect.getdoc(getattr(losses, name))
    assert ">>>" in text or name in ("Balance", "Discrepancy")  # what the functions return, shown there
    if inspect.isfunction(getattr(losses, name)):
        assert "Returns\n-------" in text


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_the_same_loss(name, duplicate):
    module, _, options = PAIRS[name]
    loss = module(**options)
    other = duplicate(loss)
    assert repr(other) == repr(loss)
    assert torch.equal(other(*_tensors(name)), loss(*_tensors(name)))


def test_a_tensor_option_moves_with_the_module_and_is_no_parameter():
    loss = losses.RMPRLoss(epsilon=torch.tensor(0.3), kappa=2.0)
    assert loss.to("meta").epsilon.device.type == "meta"
    assert not loss.state_dict()
    assert not list(loss.parameters())
    torch.testing.assert_close(
        copy.deepcopy(losses.RMPRLoss(epsilon=torch.tensor(0.3)))(*_tensors("RMPR")),
        losses.rmpr(*_tensors("RMPR"), epsilon=0.3),
    )


def test_options_are_checked_when_a_module_is_made():
    with pytest.raises(UnknownNameError, match=r"option='epsillon' does not exist; did you mean 'epsilon'"):
        losses.WBMLoss(epsillon=0.1)
    with pytest.raises(UnknownNameError, match=r"did you mean 'untreated'"):
        losses.WBMLoss(against="treated")
    with pytest.raises(ValueError, match=r"clip must be in \[0, 0.5\), got 0.7"):
        losses.WBMLoss(clip=0.7)
    with pytest.raises(TypeError, match="gamma must be a number, got str"):
        losses.ESCFRLoss(gamma="large")


BATCH_LOSSES = {
    "wbm": lambda z, t, phi, y, other, **o: losses.wbm(z, t, phi, logits=True, detach_representation=False, **o),
    "wbm against all": lambda z, t, phi, y, other, **o: losses.wbm(z, t, phi, logits=True, against="all", scale_cost=True, detach_representation=False, **o),
    "wbm softmax": lambda z, t, phi, y, other, **o: losses.wbm(z, t, phi, logits=True, masses="softmax", clip=0.2, scale_cost=True, min_ess=0.0, detach_representation=False, **o),
    "escfr": lambda z, t, phi, y, other, **o: losses.escfr_discrepancy(phi, t, y, other, gamma=0.1, **o),
    "escfr relative": lambda z, t, phi, y, other, **o: losses.escfr_discrepancy(phi, t, y, other, gamma=0.1, epsilon=0.2, relative=True, reference="product", grad="implicit", **o),
    "cfr-wass": lambda z, t, phi, y, other, **o: losses.escfr_discrepancy(phi, t, gamma=0.0, kappa=float("inf"), epsilon=None, **o),
}  # fmt: skip


def _value_and_gradients(loss, tensors, **options):
    tensors = [v.clone().requires_grad_() if v.dtype == torch.float64 else v for v in tensors]
    value = loss(*tensors, **options)
    inputs = [v for v in tensors if v.requires_grad]
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    return value.detach(), [torch.zeros_like(v) if g is None else g for v, g in zip(inputs, found, strict=True)]


@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_zero_masses_stand_for_selection(name, monkeypatch):
    """Every sample on both sides, with mass 0 where it does not belong: same value, same gradients."""
    tensors, options = _batch(), {"tol": 1e-12, "max_iter": 100_000}
    selected = _value_and_gradients(BATCH_LOSSES[name], tensors, **options)
    monkeypatch.setattr(groups, "fixed_shapes", lambda x: True)
    padded = _value_and_gradients(BATCH_LOSSES[name], tensors, **options)
    torch.testing.assert_close(padded, selected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", BATCH_LOSSES)
@pytest.mark.parametrize("group", [True, False])
def test_without_a_group_the_padded_path_gives_a_connected_zero(name, group, monkeypatch):
    monkeypatch.setattr(groups, "fixed_shapes", lambda x: True)
    z, t, phi, y, other = _batch()
    value, grads = _value_and_gradients(BATCH_LOSSES[name], (z, torch.full_like(t, group), phi, y, other))
    if name == "wbm against all" and group:
        assert float(value) > 0  # all samples are treated: still a comparison with the whole batch
        return
    assert float(value) == 0.0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in grads)


@pytest.mark.parametrize("name", PAIRS)
def test_a_compiled_module_is_the_eager_one(name):
    """No graph break: no shape and no branch depends on the data."""
    module, _, options = PAIRS[name]
    loss = module(**options)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for seed in (0, 1):
        tensors = _tensors(name, seed)
        torch.testing.assert_close(
            _value_and_gradients(compiled, tensors), _value_and_gradients(loss, tensors), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", PAIRS)
def test_an_exported_module_is_the_eager_one(name):
    module, _, options = PAIRS[name]
    tensors = _tensors(name)
    exported = torch.export.export(module(**options), tensors).module()
    torch.testing.assert_close(exported(*tensors), module(**options)(*tensors), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_training_step():
    """Model and loss in one graph, through the default back end."""
    _, t, phi, _, _ = _batch()
    model = torch.nn.Linear(3, 1, dtype=torch.float64)
    loss = losses.WBMLoss(logits=True, scale_cost=True)

    def step(phi, t):
        return loss(model(phi)[:, 0], t, phi)

    eager = torch.autograd.grad(step(phi, t), model.weight)
    compiled = torch.autograd.grad(torch.compile(step, fullgraph=True)(phi, t), model.weight)
    torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_compute_in_float32(name, dtype):
    """Costs are differences of large numbers: they are never formed in 16 bits."""
    module, _, options = PAIRS[name]
    loss = module(**options)
    single = [v.float() if v.is_floating_point() else v for v in _tensors(name)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(*single), loss(*single).float())
        inside = loss(*single)
    torch.testing.assert_close(inside, loss(*single), atol=1e-5, rtol=1e-4)
    half = [v.to(dtype) if v.is_floating_point() else v for v in single]
    value = loss(*half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*(v.float() if v.is_floating_point() else v for v in half)))
