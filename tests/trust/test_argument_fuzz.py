"""Any arguments at all: a typed error with a message, or shapes as promised and a right answer that is finite.

A problem that is not finite must say why in its status. A crash of the process fails the whole run.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wbm_ext
from wbm_ext import Status
from wbm_ext.solver.status import REFUSED

SPECIAL = [0.0, -1.0, 1e-30, 1e30, -1e30, math.inf, -math.inf, math.nan]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
STRANGE = [torch.int64, torch.bool, torch.complex64]
BATCHES = [(), (1,), (3,), (2, 2), (0,)]
EXCUSED = REFUSED | Status.OVERFLOW
BOUNDED = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def often(common, rare):
    """``common``, or one time in twenty ``rare``."""
    return st.integers(0, 19).flatmap(lambda k: rare if k == 0 else common)


@st.composite
def tensors(draw, shape, dtypes, low=0.0):
    """A tensor of a shape, some values special, laid out in any way."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.rand(shape, generator=rng, dtype=torch.float64) + low
    for value in draw(often(st.just([]), st.lists(st.sampled_from(SPECIAL), min_size=1, max_size=3))):
        if x.numel():
            x.view(-1)[draw(st.integers(0, x.numel() - 1))] = value
    x = x.to(draw(often(st.sampled_from(dtypes), st.sampled_from(DTYPES + STRANGE))))
    layout = draw(st.sampled_from(["plain", "plain", "transposed", "strided", "offset", "expanded"]))
    if layout == "transposed" and x.dim() > 1:
        x = x.mT.contiguous().mT
    elif layout == "strided" and x.dim():
        x = x.repeat_interleave(2, -1)[..., ::2]
    elif layout == "offset" and x.dim():
        x = torch.cat([x.new_ones(*x.shape[:-1], 1), x], -1)[..., 1:]
    elif layout == "expanded" and x.dim() and x.shape[0]:
        x = x[:1].expand_as(x)
    return x


@st.composite
def strengths(draw, batch):
    number = often(st.floats(0.02, 5.0), st.sampled_from([*SPECIAL, None, "0.1", True]))
    per_problem = often(st.just(batch), st.sampled_from(BATCHES)).flatmap(lambda s: tensors(s, DTYPES[:2], low=0.05))
    return draw(st.one_of(number, number, per_problem))


@st.composite
def calls(draw):
    n, m = (draw(often(st.integers(1, 6), st.integers(0, 40))) for _ in range(2))
    batch = draw(st.sampled_from(BATCHES))
    dtype = draw(st.sampled_from(DTYPES))
    D = draw(often(tensors((*batch, n, m), [dtype]), st.one_of(tensors((n,), DTYPES), st.sampled_from([None, 3.0]))))
    mass = torch.float64 if dtype == torch.float64 else torch.float32
    call = {"D": D, "epsilon": draw(strengths(batch))}
    for name, size in (("a", n), ("b", m)):
        shapes = often(st.sampled_from([(*batch, size), (size,)]), st.sampled_from([(size + 1,), (), (2, size)]))
        call[name] = draw(st.one_of(st.none(), shapes.flatmap(lambda s: tensors(s, [mass], low=0.01))))
        total = call[name] if isinstance(call[name], torch.Tensor) and call[name].dim() else None
        if total is not None and total.is_floating_point() and draw(st.integers(0, 7)):
            call[name] = total / total.sum(-1, keepdim=True)
    kappa = st.one_of(st.just(math.inf), strengths(batch))
    call["kappa"] = draw(often(st.one_of(kappa, st.tuples(kappa, kappa)), st.sampled_from([(1.0,), (1, 2, 3), None])))
    mask = st.integers(0, 2**31).map(lambda s: torch.rand(n, m, generator=torch.Generator().manual_seed(s)) > 0.2)
    call["mask"] = draw(often(st.none(), st.one_of(mask, mask.map(torch.Tensor.int), mask.map(lambda x: x[None, 1:]))))
    for name, valid in (
        ("reference", ["entropy", "product"]),
        ("grad", ["implicit", "unrolled", "frozen"]),
        ("method", ["auto", "sinkhorn"]),
        ("criterion", ["marginal", "scaling"]),
        ("validate", ["auto", "full", "none"]),
    ):
        call[name] = draw(st.integers(0, 31).flatmap(lambda k, v=valid: st.sampled_from(v if k else ["no", 1, None])))
    call["tol"] = draw(often(st.sampled_from([1e-4, 1e-6, 0.0]), st.sampled_from([-1.0, math.nan, "1", None])))
    call["max_iter"] = draw(often(st.integers(1, 200), st.sampled_from([0, -1, 1.5, None])))
    start = st.tuples(tensors((*batch, n), [torch.float64]), tensors((*batch, m), [torch.float64]))
    call["init"] = draw(often(st.none(), st.one_of(start, st.sampled_from(["cold", (None,), 1]))))
    return call


def ordinary(strength) -> bool:
    """Whether float32 can tell the strength from 0 and its square from inf; at 1e-30 replayed iterations cannot."""
    if isinstance(strength, tuple):
        return all(map(ordinary, strength))
    values = torch.as_tensor(1.0 if strength is None else strength, dtype=torch.float64)
    return bool(((values > 1e-6) & ((values < 1e6) | values.isinf())).all())


def check(call) -> str:
    D = call["D"]
    wanted = isinstance(D, torch.Tensor) and D.is_floating_point() and D.is_leaf
    if wanted:
        D = call["D"] = D.detach().requires_grad_()
    reason = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = wbm_ext.solve(**call)
            finite = torch.isfinite(result.cost) & torch.isfinite(result.regularized_cost)
            (gradient,) = torch.autograd.grad(result.cost.sum(), D)
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error)
    if reason is not None:
        assert len(reason) > 15, reason
        return "refused"
    excused = (result.status & int(EXCUSED)).bool()
    assert bool((finite | excused).all()), result.status_text()
    assert gradient.shape == D.shape
    batch = result.cost.shape
    assert result.plan.shape == (*batch, *D.shape[-2:])
    assert result.f.shape == (*batch, D.shape[-2])
    plan = result.plan.detach().double()
    good = result.converged & ~excused
    hard = not isinstance(call["kappa"], torch.Tensor) and call["kappa"] == math.inf
    assert bool((plan[good] >= 0).all())
    fits = bool((plan[good] < 1e-3 * torch.finfo(D.dtype).max).all())  # the gradient is as large as the plan
    if bool(good.all()) and fits and ordinary(call["epsilon"]) and ordinary(call["kappa"]):
        assert bool(torch.isfinite(gradient).all())
    if call["criterion"] == "marginal" and hard and bool(good.any()):
        a = call["a"]
        row = torch.full(batch + D.shape[-2:-1], 1.0 / D.shape[-2]).double() if a is None else a.double()
        apart = (plan.sum(-1) - row).abs().sum(-1) / row.sum(-1)
        assert bool((apart[good] <= call["tol"] + 1e-4).all())
    return "solved"


@given(calls())
@settings(max_examples=300, derandomize=True, **BOUNDED)
def test_arguments_are_refused_or_solved(call):
    check(call)


@pytest.mark.slow
@given(calls())
@settings(max_examples=4000, **BOUNDED)
def test_more_arguments_are_refused_or_solved(call):
    check(call)


def test_the_fuzz_reaches_both_ends():
    seen = []

    @given(calls())
    @settings(max_examples=200, derandomize=True, **BOUNDED)
    def collect(call):
        seen.append(check(call))

    collect()
    assert min(seen.count("refused"), seen.count("solved")) > 20


def test_unrolled_gradient_of_a_solve_that_stops_at_once():
    D = torch.tensor([[0.2, 0.5, 0.8]], dtype=torch.float64).expand(3, 3).clone()
    gradients = []
    for grad in ("implicit", "unrolled"):
        x = D.clone().requires_grad_()
        value = wbm_ext.sinkhorn(x, epsilon=1.5, criterion="scaling", grad=grad)
        gradients += torch.autograd.grad(value, x)
    torch.testing.assert_close(*gradients)
