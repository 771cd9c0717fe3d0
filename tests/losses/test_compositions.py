"""Every loss under what torch may do to it: compiler, export, ``torch.func``, autocast, deterministic mode, copies."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import grad, vmap

from problems import generator
from wbm_ext import losses

TIGHT = {"tol": 1e-12, "max_iter": 100_000}
N = 5  # treated samples where a loss takes two sets


def _sets(function, **options):
    return lambda z, t, phi, y, other: function(phi[:N], phi[N:], **options)


def _wbm(**options):
    return lambda z, t, phi, y, other: losses.wbm(
        z, t, phi, logits=True, detach_representation=False, min_ess=0.0, **options, **TIGHT
    )


def _escfr(**options):
    return lambda z, t, phi, y, other: losses.escfr_discrepancy(
        phi, t, y, other, gamma=0.1, grad="implicit", **options, **TIGHT
    )


def _pfor(z, t, phi, y, other):
    outcomes = (y[:N], y[N:], other[:N], other[N:])
    return losses.pfor_cost(phi[:N], phi[N:], *outcomes, gamma=0.1).sin().sum()


LOSSES = {
    "wbm": _wbm(),
    "wbm, relative": _wbm(scale_cost=True, epsilon=0.1),
    "wbm, all": _wbm(against="all", masses="softmax", clip=0.2),
    "escfr": _escfr(),
    "escfr, relative": _escfr(relative=True, epsilon=0.2, kappa=(1.0, 2.0), reference="product"),
    "rmpr": _sets(losses.rmpr, **TIGHT),
    "rmpr, relative": _sets(losses.rmpr, relative=True, epsilon=0.1, kappa=0.5, **TIGHT),
    "rmpr, relative, default ε": _sets(losses.rmpr, relative=True, kappa=float("inf"), **TIGHT),
    "divergence": _sets(losses.sinkhorn_divergence, **TIGHT),
    "mmd": _sets(losses.mmd, bandwidth=1.5),
    "mmd, median": _sets(losses.mmd),
    "linear": _sets(losses.linear_discrepancy, share=0.3),
    "moments": lambda z, t, phi, y, other: losses.moment_balance(z, t, phi, logits=True, detach_representation=False),
    "pfor cost": _pfor,
    "masses": lambda z, t, phi, y, other: losses.inverse_propensity_masses(z, logits=True).square().sum(),
}  # fmt: skip
DETACHED = {  # ε or the unit is no function of the points for the gradient
    *("wbm, relative", "escfr, relative", "rmpr, relative", "rmpr, relative, default ε", "mmd, median"),
    *("wbm", "wbm, all", "rmpr", "divergence"),  # the default ε
}
MODULES = {
    "WBMLoss": losses.WBMLoss(scale_cost=True, epsilon=0.1, min_ess=0.0),
    "RMPRLoss": losses.RMPRLoss(relative=True, epsilon=0.1, kappa=0.5),
    "ESCFRLoss": losses.ESCFRLoss(relative=True, gamma=0.1),
    "SinkhornDivergence": losses.SinkhornDivergence(),
    "MMDLoss": losses.MMDLoss(),
}


def _batch(seed=0, size=12, dtype=torch.float64):
    rng = generator(seed)
    z, y, other = (torch.randn(size, generator=rng, dtype=dtype) for _ in range(3))
    return z, torch.arange(size) < N, torch.randn(size, 3, generator=rng, dtype=dtype), y, other


def _with_gradients(loss, batch, autocast=False):
    inputs = [x.clone().requires_grad_() if x.is_floating_point() else x for x in batch]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = loss(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    found = torch.autograd.grad(value, wanted, allow_unused=True)
    return value.detach(), [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_whole(name):
    torch._dynamo.reset()
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(_with_gradients(compiled, _batch()), _with_gradients(LOSSES[name], _batch()))


@pytest.mark.parametrize("name", LOSSES)
def test_vmap_and_grad(name):
    """A batch of batches in one call, and the gradient of each in another."""
    several = [_batch(seed) for seed in range(3)]
    stacked = [torch.stack(parts) for parts in zip(*several, strict=True)]
    values, gradients = zip(*(_with_gradients(LOSSES[name], batch) for batch in several), strict=True)
    torch.testing.assert_close(vmap(LOSSES[name])(*stacked), torch.stack(values))
    by_z, by_phi = vmap(grad(LOSSES[name], (0, 2)))(*stacked)
    torch.testing.assert_close(by_z, torch.stack([g[0] for g in gradients]))
    torch.testing.assert_close(by_phi, torch.stack([g[1] for g in gradients]))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in DETACHED])
def test_the_gradient_is_that_of_the_value(name):
    z, t, phi, y, other = _batch()

    def value(z, phi, other):
        return LOSSES[name](z, t, phi, y, other)

    assert gradcheck(value, tuple(x.requires_grad_() for x in (z, phi, other)), atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_exported(name):
    class Module(torch.nn.Module):
        def forward(self, *batch):
            return LOSSES[name](*batch)

    program = torch.export.export(Module(), _batch(), strict=False).module()
    torch.testing.assert_close(program(*_batch(1)), LOSSES[name](*_batch(1)))


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_and_deterministic_algorithms_change_nothing(name):
    batch = _batch(dtype=torch.float32)
    expected = _with_gradients(LOSSES[name], batch)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(_with_gradients(LOSSES[name], batch), expected, rtol=0, atol=0)
    finally:
        torch.use_deterministic_algorithms(before)
    value, gradients = _with_gradients(LOSSES[name], batch, autocast=True)
    assert value.dtype == torch.float32
    torch.testing.assert_close((value, gradients), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_a_copied_module_compiles_to_the_same_loss(name):
    """A copy, and one that has been through a file, in one graph each."""
    z, t, phi, y, other = _batch()
    tensors = {"WBMLoss": (z.sigmoid(), t, phi), "ESCFRLoss": (phi, t, y, other)}.get(name, (phi[:N], phi[N:]))
    expected = MODULES[name](*tensors)
    for twin in (copy.deepcopy(MODULES[name]), pickle.loads(pickle.dumps(MODULES[name]))):
        torch._dynamo.reset()
        compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*tensors), expected, rtol=1e-5, atol=1e-5)
