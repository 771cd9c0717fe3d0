"""A plain logsumexp loop in torch, each iteration compiled where a C++ compiler is at hand, else eager (it says so)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from python_benchmarks._problems import Problem
from python_benchmarks.peers.arrays import float64, tensors
from python_benchmarks.peers.registry import Run, peer

COMPILER = shutil.which("g++") or shutil.which("clang++")
NAME = "torch logsumexp, compiled" if COMPILER else "torch logsumexp, eager (no C++ compiler)"
TEST_EVERY = 10


def step(scaled: Tensor, v: Tensor, log_a: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration on D/ε with potentials over ε."""
    u = log_a - torch.logsumexp(v[..., None, :] - scaled, -1)
    return u, log_b - torch.logsumexp(u[..., :, None] - scaled, -2)


def error(scaled: Tensor, u: Tensor, v: Tensor, a: Tensor) -> Tensor:
    """1-norm of the row marginal, the worst of a batch; the columns are exact after a step."""
    return (torch.exp(u[..., :, None] + v[..., None, :] - scaled).sum(-1) - a).abs().sum(-1).amax()


def loop(compile_step: bool) -> Callable[..., Run]:
    """Adapter with steps compiled by ``torch.compile`` or as they stand."""

    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        a, b, scaled = tensors(replace(problem, D=problem.D / problem.D.dtype.type(problem.epsilon)), device)
        log_a, log_b = a.log(), b.log()
        advance, test = step, error
        if compile_step:
            torch.compiler.reset()  # else a new shape counts as a recompilation and, after a few, runs eagerly
            advance, test = torch.compile(step, dynamic=False), torch.compile(error, dynamic=False)

        def call() -> Any:
            with torch.no_grad():
                v = torch.zeros_like(b)
                u = v
                for index in range(1, iterations + 1):
                    u, v = advance(scaled, v, log_a, log_b)
                    if tolerance > 0 and index % TEST_EVERY == 0 and float(test(scaled, u, v, a)) <= tolerance:
                        break
                return u, v

        def plan(potentials: Any) -> np.ndarray:
            u, v = (x.double() for x in potentials)
            return float64(torch.exp(u[..., :, None] + v[..., None, :] - scaled.double()))

        return Run(call, plan)

    return prepare


peer(NAME, "torch", "torch", order="rows", many=True)(loop(COMPILER is not None))
