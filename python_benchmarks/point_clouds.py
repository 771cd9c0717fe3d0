"""Transport between point clouds: seconds, memory and residual of value and gradient, other libraries beside.

    python -m python_benchmarks.point_clouds [--case d3-10000 ...] [--peer geomloss ...] [--save]

Every measurement is made in a process of its own: seconds of value and gradient (after a call of a small cloud), and
the process's peak of memory above where it started (Linux only). The clouds are normal, y shifted by 1 in each
coordinate; epsilon = blur^2. The residual is what each library tells of itself. A case that does not end within --cap
seconds is told as such.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import wbm_ext
from python_benchmarks import _harness as harness
from python_benchmarks.peers.memory_probe import MIB, kibibytes

RESULTS = Path(__file__).parent / "results"
# name: points, dimension, epsilon (None: .05 times the mean cost)
CASES: dict[str, tuple[int, int, float | None]] = {
    "d3-2000": (2000, 3, 0.005),
    "d3-5000": (5000, 3, 0.005),
    "d3-10000": (10000, 3, 0.005),
    "d3-50000": (50000, 3, 0.005),
    "d2-10000": (10000, 2, 0.005),
    "d2-50000": (50000, 2, 0.005),
    "d2-100000": (100000, 2, 0.005),
    "d32-10000": (10000, 32, None),
}
PEERS = ("wbm_ext", "matrix", "geomloss", "ott")
# Points beyond which memory or hours would go. OTT-JAX 0.6.0 has its cost online (batch_size) with jax older than 0.10,
# so its matrix is stored here.
MOST = {"matrix": 10000, "geomloss": 10000, "ott": 10000}


def clouds(n: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x normal, y normal around 1, float32 (n, d)."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=draw), torch.randn(n, d, generator=draw) + 1.0


def mean_cost(x: torch.Tensor, y: torch.Tensor) -> float:
    """Mean of |x_i - y_j|^2."""
    spread = x.var(0, correction=0).sum() + y.var(0, correction=0).sum()
    return float(spread + (x.mean(0) - y.mean(0)).square().sum())


def call_of(peer: str, epsilon: float) -> Any:
    """A function (x, y) -> value, residual (NaN where the library does not tell) that leaves the gradient in x.grad."""
    if peer in ("wbm_ext", "matrix"):

        def ours(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
            road = "points" if peer == "wbm_ext" else "matrix"
            result = wbm_ext.solve_points(x, y, epsilon=epsilon, road=road)  # type: ignore[arg-type]
            result.regularized_cost.backward()
            return float(result.regularized_cost), result.residual

        return ours
    if peer == "geomloss":
        import geomloss

        loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=math.sqrt(epsilon / 2), debias=False, backend="tensorized")

        def theirs(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
            value = 2 * loss(x, y)  # its cost is |x - y|^2 / 2
            value.backward()
            return float(value), math.nan

        return theirs
    import jax
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    solver = sinkhorn.Sinkhorn(threshold=1e-3, max_iterations=2000, lse_mode=True)

    def value(x: Any, y: Any) -> tuple[Any, Any]:
        geometry = pointcloud.PointCloud(x, y, epsilon=epsilon)
        out = solver(linear_problem.LinearProblem(geometry))
        return out.reg_ot_cost, out.errors

    compiled = jax.jit(jax.value_and_grad(value, has_aux=True))

    def jaxed(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
        (found, errors), gradient = compiled(x.detach().numpy(), y.numpy())
        gradient.block_until_ready()
        kept = [float(e) for e in errors if float(e) >= 0]
        return float(found), kept[-1] if kept else math.nan

    return jaxed


def probe(case: str, peer: str) -> harness.Record:
    """Value, residual, seconds and MiB of one case, in this process."""
    n, d, epsilon = CASES[case]
    x, y = clouds(n, d)
    if epsilon is None:
        epsilon = 0.05 * mean_cost(x, y)
    call = call_of(peer, epsilon)
    call(x[:200].clone().requires_grad_(), y[:200])
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    value, residual = call(x.requires_grad_(), y)
    seconds = time.perf_counter() - start
    mib = (kibibytes("VmHWM") - before) / MIB
    return {"value": value, "residual": residual, "seconds": seconds, "mib": mib, "epsilon": epsilon}


def measured(case: str, peer: str, cap: float) -> harness.Record:
    """:func:`probe` in a process of its own."""
    words = [sys.executable, "-m", "python_benchmarks.point_clouds", "--probe", case, peer]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=cap, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {cap:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def line_of(case: str, peer: str, record: harness.Record) -> str:
    """One row of the table."""
    if "error" in record:
        return f"| {case} | {peer} | {record['error']} | | | |"
    residual = "not told" if math.isnan(record["residual"]) else f"{record['residual']:.1e}"
    seconds, mib, value = record["seconds"], record["mib"], record["value"]
    return f"| {case} | {peer} | {seconds:.2f} s | {mib:.0f} MiB | {value:.6f} | {residual} |"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.point_clouds",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--case", action="append", choices=CASES, help="repeatable; default: all")
    line.add_argument("--peer", action="append", choices=PEERS, help="repeatable; default: all")
    line.add_argument("--cap", type=float, default=300.0, help="seconds a measurement may take")
    line.add_argument("--save", action="store_true", help="write results/point-clouds-cpu-<date>.json")
    line.add_argument("--probe", nargs=2, metavar=("CASE", "PEER"), help="measure here, and print JSON")
    options = line.parse_args(argv)
    if options.probe:
        print(json.dumps(probe(*options.probe)))
        return 0
    records: dict[str, harness.Record] = {}
    print("| case | | value and gradient | memory | value | residual |\n| --- | --- | --- | --- | --- | --- |")
    for case in options.case or CASES:
        for peer in options.peer or PEERS:
            if CASES[case][0] > MOST.get(peer, CASES[case][0]):
                continue
            records[f"{case}|{peer}"] = measured(case, peer, options.cap)
            print(line_of(case, peer, records[f"{case}|{peer}"]), flush=True)
    if options.save:
        path = RESULTS / f"point-clouds-cpu-{time.strftime('%Y-%m-%d')}.json"
        harness.write_json(path, {"machine": harness.machine(), "commit": harness.commit(), "records": records})
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
