"""OTT-JAX ``Sinkhorn`` in log-sum-exp mode under jit, with and without momentum, and vmapped. Stops on the 1-norm.

Without a tolerance ``min_iterations = max_iterations``, which OTT turns into a scan, its fastest loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import BatchRun, Run, batch_peer, peer

INNER = 10  # iterations between two tests, OTT's default
LINEAR = (1e-6, 1e-5, 1e-4, 1e-3)  # tolerances of the implicit backward's linear solver, OTT's default first


def platform(device: str) -> str:
    """JAX's name of the device."""
    return "gpu" if device == "cuda" else "cpu"


def no_gpu(device: str) -> str:
    """Why JAX cannot run there, nothing where it can."""
    if device == "cpu":
        return ""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes most of the GPU from all others
    import jax

    try:
        jax.devices(platform(device))
    except RuntimeError:
        return "ott-jax: jax finds no GPU; its build for CUDA comes with jax[cuda12] or jax[cuda13]"
    return ""


def _arrays(problem: Problem, device: str) -> tuple[Any, Any, Any]:
    """D, a and b on that device."""
    import jax

    jax.config.update("jax_enable_x64", True)  # float32 inputs stay float32
    place = jax.devices(platform(device))[0]
    D, a, b = (jax.device_put(x, place) for x in (problem.D, problem.a, problem.b))
    return D, a, b


def _solver(
    problem: Problem,
    tolerance: float,
    iterations: int,
    momentum: dict[str, float] | None = None,
    linear: float | None = 1e-6,
) -> Any:
    import jax
    from ott.solvers.linear import acceleration, implicit_differentiation, sinkhorn

    if momentum:
        weight = jax.numpy.asarray(momentum.get("value", 1.0), dtype=problem.D.dtype)
        momentum = {"start": momentum.get("start", 0), "value": weight, "inner_iterations": INNER}
    iterations = INNER * -(-iterations // INNER)
    return sinkhorn.Sinkhorn(
        lse_mode=True,
        threshold=tolerance,
        inner_iterations=INNER,
        min_iterations=iterations if tolerance == 0 else 0,
        max_iterations=iterations,
        momentum=acceleration.Momentum(**momentum) if momentum else None,
        implicit_diff=linear and implicit_differentiation.ImplicitDiff(solver_kwargs={"rtol": linear, "atol": linear}),
    )


def _linear_problem(D: Any, epsilon: float, a: Any, b: Any) -> Any:
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem

    return linear_problem.LinearProblem(geometry.Geometry(cost_matrix=D, epsilon=epsilon), a=a, b=b)


def _plan(problem: Problem, potentials: Any) -> np.ndarray:
    f, g = (np.asarray(x, dtype=np.float64) for x in potentials)
    return np.exp((f[..., :, None] + g[..., None, :] - problem.D.astype(np.float64)) / problem.epsilon)


def _forward(momentum: dict[str, float] | None, many: bool = False) -> Callable[..., Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> Run:
        import jax

        D, a, b = _arrays(problem, device)
        solver = _solver(problem, tolerance, iterations, momentum)

        def solve(D: Any, a: Any, b: Any) -> Any:
            out = solver(_linear_problem(D, problem.epsilon, a, b))
            return out.f, out.g

        compiled = jax.jit(jax.vmap(solve) if many else solve).lower(D, a, b).compile()
        return Run(lambda: jax.block_until_ready(compiled(D, a, b)), partial(_plan, problem))

    return prepare


def _batch(loss: str, unrolled: bool = False) -> Callable[..., BatchRun]:
    def prepare(problem: Problem, tolerance: float, iterations: int, device: str = "cpu") -> BatchRun:
        import jax

        D, a, b = _arrays(problem, device)
        solver = _solver(problem, tolerance, iterations, linear=None if unrolled else LINEAR[0])

        def one(D: Any, a: Any, b: Any) -> Any:
            out = solver(_linear_problem(D, problem.epsilon, a, b))
            value = (out.matrix * D).sum() if loss == "sharp" else out.reg_ot_cost
            return value, (out.f, out.g)

        def total(D: Any, a: Any, b: Any) -> Any:
            values, potentials = jax.vmap(one)(D, a, b)
            return values.sum(), potentials

        compiled = jax.jit(jax.value_and_grad(total, has_aux=True)).lower(D, a, b).compile()
        for linear in LINEAR[1:] if loss == "sharp" and not unrolled else ():
            try:
                jax.block_until_ready(compiled(D, a, b))
                break
            except jax.errors.JaxRuntimeError:  # the linear solver of the backward gives up in float32
                solver = _solver(problem, tolerance, iterations, linear=linear)
                compiled = jax.jit(jax.value_and_grad(total, has_aux=True)).lower(D, a, b).compile()

        def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
            (_, potentials), gradient = result
            return _plan(problem, potentials), np.asarray(gradient, dtype=np.float64)

        return BatchRun(lambda: jax.block_until_ready(compiled(D, a, b)), read)

    return prepare


_OTT = {"package": "ott-jax", "module": "ott", "hindered": no_gpu}
peer("OTT-JAX lse", order="columns", **_OTT)(_forward(None))
peer("OTT-JAX lse, momentum 1.5", **_OTT)(_forward({"value": 1.5}))
peer("OTT-JAX lse, adaptive momentum", **_OTT)(_forward({"start": 100}))
peer("OTT-JAX vmap", order="columns", single=False, many=True, **_OTT)(_forward(None, many=True))
for _loss in ("sharp", "regularized"):
    batch_peer("OTT-JAX vmap", loss=_loss, **_OTT)(_batch(_loss))
batch_peer("OTT-JAX vmap, unrolled", loss="sharp", **_OTT)(_batch("sharp", unrolled=True))
