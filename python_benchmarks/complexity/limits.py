"""What the machine gives, measured in the same run, and the share of it that plain iterations reach."""

from __future__ import annotations

from collections.abc import Callable

import torch

from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import clouds
from python_benchmarks.complexity.cells import counted
from python_benchmarks.complexity.options import Options
from python_benchmarks.peers.subjects import check

SHORT, LONG = 40, 240  # iterations; their difference in time is free of what a call costs once
PRODUCT = 1024  # order of the matrix product that gives the rate of multiply-adds
RELATIVE = 0.05


def copy_bandwidth(size: int, device: str, least: float) -> harness.Timing:
    """Bytes a second of a copy, read and written bytes counted, of an array of ``size`` bytes."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return _rates(lambda: target.copy_(source), 2.0 * size, device, least)


def multiply_add_rate(device: str, least: float) -> harness.Timing:
    """Multiply-adds a second that a float32 matrix product reaches (no reduced precision)."""
    x = torch.rand(PRODUCT, PRODUCT, device=device)
    out = torch.empty_like(x)
    return _rates(lambda: torch.mm(x, x, out=out), float(PRODUCT) ** 3, device, least)


def _rates(call: Callable[[], object], amount: float, device: str, least: float) -> harness.Timing:
    return harness.summarize([amount / harness.sample(call, least, device) for _ in range(5)])


def machine(options: Options) -> list[Task]:
    """Copies of the size of each problem's matrix and of main memory's size; multiply-adds."""
    tasks = []
    for device in options.devices:
        for size in (*(4 * n * n for n in options.limit_sizes), options.memory):

            def copy(store: Store, device: str = device, size: int = size) -> Record:
                rate = copy_bandwidth(size, device, options.least)
                return {"device": device, "size": size, "rate": rate.record(samples=True), "unit": "B/s"}

            tasks.append(Task(f"machine|{device}, {size} bytes|copy", copy))

        def product(store: Store, device: str = device) -> Record:
            rate = multiply_add_rate(device, options.least)
            return {"device": device, "rate": rate.record(samples=True), "unit": "multiply-adds/s"}

        tasks.append(Task(f"machine|{device}, float32|multiply-add", product))
    return tasks


def shares(options: Options) -> list[Task]:
    """Time of one more plain iteration, float32, beside what its bytes and operations need at the least."""
    tasks = []
    for device in options.devices:
        for n in options.limit_sizes:

            def run(store: Store, device: str = device, n: int = n) -> Record:
                copy = store.records[f"machine|{device}, {4 * n * n} bytes|copy"]["rate"]["median"]
                rate = store.records[f"machine|{device}, float32|multiply-add"]["rate"]["median"]
                return share(n, device, options.least, copy, rate)

            expected = 10 * options.least + 1e-6 * n * n
            tasks.append(Task(f"limits|{device}, n={n}, eps={RELATIVE:g}|plain iteration", run, expected))
    return tasks


def share(n: int, device: str, least: float, copy: float, rate: float) -> Record:
    """The record of one size; ``share`` = max(bytes / copy, multiply-adds / rate) / seconds of an iteration."""
    from wbm_ext import SinkhornResult, solve

    problem = clouds(n, RELATIVE)
    D, a, b = (torch.from_numpy(x).to(device) for x in (problem.D, problem.a, problem.b))

    def iterate(count: int) -> SinkhornResult:
        return solve(D, a, b, epsilon=problem.epsilon, tol=0.0, max_iter=count, method="sinkhorn")

    found = check(iterate(SHORT).plan.double().cpu().numpy(), problem, SHORT, "rows")
    record: Record = {"device": device, "n": n, "m": n, "subject": "plain iteration"} | found
    if "wrong" in found:
        return record
    each = [
        (harness.sample(lambda: iterate(LONG), least, device) - harness.sample(lambda: iterate(SHORT), least, device))
        / (LONG - SHORT)
        for _ in range(5)
    ]
    time, needs = harness.summarize(each), counted(n, n, 1.0, 4)
    if time.median <= 0:
        return record | {"wrong": f"too noisy: {LONG} iterations took no longer than {SHORT}"}
    bounds = {"copy": needs["bytes"] / copy, "multiply-add": needs["multiply_adds"] / rate}
    binding = max(bounds, key=bounds.__getitem__)
    return record | needs | {
        "seconds": time.record(samples=True), "iterations": 1, "copy": copy, "rate": rate, "bounds": bounds,
        "binding": binding, "share": bounds[binding] / time.median,
    }  # fmt: skip
