"""OTT-JAX ``Sinkhorn`` in log-sum-exp mode under jit, with and without momentum, and vmapped. Stops on the 1-norm.

Without a tolerance ``min_iterations = max_iterations``, which OTT turns into a scan, its fastest loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from python_benchmarks._problems import Problem
from python_benchmarks.peers.registry import BatchRun, Run, batch_peer, peer

INNER = 10  # iterations between two tests, OTT's default
LINEAR = (1e-6, 1e-5, 1e-4, 1e-3)  # tolerances of the implicit backward's linear solver, OTT's default first


def _solver(
    problem: Problem,
    tolerance: float,
    iterations: int,
    momentum: dict[str, float] | None = None,
    linear: float | None = 1e-6,
) -> Any:
    import jax
    from ott.solvers.linear import acceleration, implicit_differentiation, sinkhorn

    jax.config.update("jax_enable_x64", True)  # float32 inputs stay float32
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


def _single(momentum: dict[str, float] | None) -> Callable[[Problem, float, int], Run]:
    def prepare(problem: Problem, tolerance: float, iterations: int) -> Run:
        import jax

        solver = _solver(problem, tolerance, iterations, momentum)
        D, a, b = (jax.numpy.asarray(x) for x in (problem.D, problem.a, problem.b))

        @jax.jit
        def solve(D: Any, a: Any, b: Any) -> Any:
            out = solver(_linear_problem(D, problem.epsilon, a, b))
            return out.f, out.g

        compiled = solve.lower(D, a, b).compile()

        def plan(potentials: Any) -> np.ndarray:
            f, g = (np.asarray(x, dtype=np.float64) for x in potentials)
            return np.exp((f[:, None] + g[None, :] - problem.D.astype(np.float64)) / problem.epsilon)

        return Run(lambda: jax.block_until_ready(compiled(D, a, b)), plan)

    return prepare


def _batch(loss: str, unrolled: bool = False) -> Callable[[Problem, float, int], BatchRun]:
    def prepare(problem: Problem, tolerance: float, iterations: int) -> BatchRun:
        import jax

        D, a, b = (jax.numpy.asarray(x) for x in (problem.D, problem.a, problem.b))
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
            f, g = (np.asarray(x, dtype=np.float64) for x in potentials)
            exponent = f[:, :, None] + g[:, None, :] - problem.D.astype(np.float64)
            return np.exp(exponent / problem.epsilon), np.asarray(gradient, dtype=np.float64)

        return BatchRun(lambda: jax.block_until_ready(compiled(D, a, b)), read)

    return prepare


peer("OTT-JAX lse", "ott-jax", "ott", order="columns")(_single(None))
peer("OTT-JAX lse, momentum 1.5", "ott-jax", "ott")(_single({"value": 1.5}))
peer("OTT-JAX lse, adaptive momentum", "ott-jax", "ott")(_single({"start": 100}))
for _loss in ("sharp", "regularized"):
    batch_peer("OTT-JAX vmap", "ott-jax", "ott", loss=_loss)(_batch(_loss))
batch_peer("OTT-JAX vmap, unrolled", "ott-jax", "ott", loss="sharp")(_batch("sharp", unrolled=True))
