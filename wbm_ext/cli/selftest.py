"""A second of checks that the solver of this installation computes what it should: values, plans, three gradients.

Small random problems of every kind of marginal, reference and type. A gradient is held against central differences of
the value in float64; shorter types against the float64 solution of the same matrix; padding and batches against single
problems. None of it shares code with the solver.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wbm_ext.solver import sinkhorn, solve

_INF = math.inf
_KINDS = {"balanced": (_INF, _INF), "hard rows": (_INF, 0.7), "hard columns": (1.5, _INF), "unbalanced": (2.0, 0.5)}
_TIGHT = {"tol": 1e-11, "max_iter": 20000}


class Check(NamedTuple):
    """One check: what, whether it came out right, the error found beside its bound, seconds."""

    name: str
    ok: bool
    found: str
    seconds: float


def self_test(device: str = "cpu") -> list[Check]:
    """Return all checks on ``device``. An exception in a check is a wrong one, not a crash."""
    return [_judge(name, error, bound) for name, error, bound in _checks(torch.device(device))]


def _judge(name: str, error: Callable[[], float], bound: float) -> Check:
    start = time.perf_counter()
    try:
        value = error()
        ok, found = value <= bound, f"error {value:.1e}, allowed {bound:.0e}"
    except Exception as problem:  # whatever a broken build provokes is the finding
        ok, found = False, f"{type(problem).__name__}: {problem}"
    return Check(name, ok, found, time.perf_counter() - start)


def _checks(device: torch.device) -> Iterator[tuple[str, Callable[[], float], float]]:
    for kind, kappa in _KINDS.items():
        for reference in ("entropy", "product"):
            problem = _Problem(device, kappa, reference)
            name = f"{kind}, {reference}"
            yield f"{name}: implicit gradient", problem.implicit_error, 1e-6
            yield f"{name}: regularized cost", problem.regularized_error, 1e-6
            yield f"{name}: frozen plan", problem.frozen_error, 1e-12
            if device.type == "cpu":
                yield f"{name}: unrolled gradient", problem.unrolled_error, 1e-5
            for dtype, bound in ((torch.float32, 2e-4), (torch.float16, 2e-4), (torch.bfloat16, 2e-4)):
                yield f"{name}: {str(dtype)[6:]}", lambda p=problem, t=dtype: p.short_error(t), bound
    plain = _Problem(device, (_INF, _INF), "entropy")
    yield "second derivative", plain.second_error, 1e-5
    yield "batch and mask", plain.batch_error, 1e-9
    yield "small epsilon", plain.small_epsilon_residual, 1e-9


class _Problem:
    """A 13 x 9 problem in float64, a direction to differentiate along, and the errors of what the solver says."""

    def __init__(self, device: torch.device, kappa: tuple[float, float], reference: str) -> None:
        rng = torch.Generator().manual_seed(0)
        draw = {"generator": rng, "dtype": torch.float64}
        x, y = torch.randn(13, 3, **draw), torch.randn(9, 3, **draw) + 0.5
        self.D = torch.cdist(x, y).square().to(device)
        a, b = torch.rand(13, **draw) + 0.2, torch.rand(9, **draw) + 0.2
        self.a, self.b = (a / a.sum()).to(device), (b / b.sum()).to(device)
        self.V = torch.randn(13, 9, **draw).to(device)
        self.options = {"epsilon": 0.3, "kappa": kappa, "reference": reference}

    def _value(self, D: Tensor, **options: object) -> Tensor:
        return sinkhorn(D, self.a, self.b, **{**self.options, **_TIGHT, **options})  # type: ignore[arg-type]

    def _slope(self, **options: object) -> tuple[float, float]:
        """The derivative along V as the backward has it, and by central differences."""
        D = self.D.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self._value(D, **options), D)
        options.pop("grad", None)
        h = 1e-5
        ends = [float(self._value(self.D + s * h * self.V, **options)) for s in (1, -1)]
        return float((gradient * self.V).sum()), (ends[0] - ends[1]) / (2 * h)

    def implicit_error(self) -> float:
        got, expected = self._slope()
        return abs(got - expected) / max(1.0, abs(expected))

    def regularized_error(self) -> float:
        got, expected = self._slope(cost="regularized")
        return abs(got - expected) / max(1.0, abs(expected))

    def unrolled_error(self) -> float:
        got, expected = self._slope(grad="unrolled")
        return abs(got - expected) / max(1.0, abs(expected))

    def frozen_error(self) -> float:
        D = self.D.clone().requires_grad_()
        result = solve(D, self.a, self.b, **self.options, **_TIGHT, grad="frozen")  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(result.cost, D)
        return float((gradient - result.plan.detach()).abs().max())

    def short_error(self, dtype: torch.dtype) -> float:
        """Value and gradient of a matrix of another type beside those of the same numbers in float64."""
        short = self.D.to(dtype).requires_grad_()
        a, b = self.a.float(), self.b.float()
        value = sinkhorn(short, a, b, **self.options, tol=1e-5, max_iter=20000)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(value, short)
        exact = short.detach().double().requires_grad_()
        expected = self._value(exact)
        (reference,) = torch.autograd.grad(expected, exact)
        rounding = torch.finfo(dtype).eps * float(reference.abs().max()) if dtype != torch.float32 else 0.0
        apart = float((gradient.double() - reference).abs().max()) - rounding
        return max(float(((value.double() - expected) / expected).detach().abs()), apart)

    def second_error(self) -> float:
        def slope(D: Tensor) -> Tensor:
            D = D.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._value(D), D, create_graph=True)
            return (gradient * self.V).sum()

        D = self.D.clone().requires_grad_()
        (second,) = torch.autograd.grad(slope(D), D)
        h = 1e-4
        ends = [float(slope(self.D + s * h * self.V).detach()) for s in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * h)
        return abs(float((second * self.V).sum()) - expected) / max(1.0, abs(expected))

    def batch_error(self) -> float:
        """A batch of the problem and of a part of it, the rest masked, beside the two alone."""
        mask = torch.ones(2, 13, 9, dtype=torch.bool, device=self.D.device)
        mask[1, 8:], mask[1, :, 6:] = False, False
        a, b = self.a.expand(2, 13).clone(), self.b.expand(2, 9).clone()
        a[1, 8:], b[1, 6:] = 0.0, 0.0
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        both = sinkhorn(self.D.expand(2, 13, 9), a, b, mask=mask, **self.options, **_TIGHT)  # type: ignore[arg-type]
        part = sinkhorn(self.D[:8, :6], a[1, :8], b[1, :6], **self.options, **_TIGHT)  # type: ignore[arg-type]
        return float((both - torch.stack([self._value(self.D), part])).abs().max())

    def small_epsilon_residual(self) -> float:
        """The residual of the plan, from its own marginals, where plain iterations would crawl."""
        epsilon = 0.002 * float(self.D.mean())
        plan = solve(self.D, self.a, self.b, epsilon=epsilon, tol=1e-10, max_iter=20000).plan
        return float((plan.sum(1) - self.a).abs().sum() + (plan.sum(0) - self.b).abs().sum())
