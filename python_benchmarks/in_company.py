"""A solve in company: alone, right after an operation of torch, and beside a process that keeps a processor busy.

    python -m python_benchmarks.in_company [--quick] [--save]

The operations of torch leave OpenMP workers spinning on the processors that a solve wants to use, as in every training
step; a busy process takes one of two processors. 100 float32 iterations of one problem, n = 256, 512 and 1024, and a
batch of 256 x (32 x 32), forward and backward. The states take turns, call by call, so that whatever slows the machine
slows all of them; every call follows two of its kind. Goals: after an operation at most 1.15 times alone, the 90th
percentile at most 1.3 times the median, beside a busy process at most 1.15 times one thread alone. To be run on a quiet
machine only; the command exits with 1 where a goal is missed and ``--quick`` is not given.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import wbm_ext
from python_benchmarks import _harness as harness

HERE = Path(__file__).resolve().parent
ALONE, ONE_THREAD, BESIDE = "alone", "one thread", "beside a busy process"
AFTER = ("after a matmul", "after a copy", "after an addition", "after a backward")
GOALS = {"after": 1.15, "p90": 1.3, "beside": 1.15}

Call = Callable[[], object]


def solve(n: int) -> Call:
    """100 iterations of one n x n problem."""
    cost = torch.rand(n, n, generator=torch.Generator().manual_seed(n))
    return lambda: wbm_ext.solve(cost, epsilon=0.05, tol=0, max_iter=100, method="sinkhorn")


def batch(count: int, n: int) -> Call:
    """Value and gradient of ``count`` n x n problems."""
    cost = torch.rand(count, n, n, generator=torch.Generator().manual_seed(n)).requires_grad_()
    return lambda: torch.autograd.grad(wbm_ext.sinkhorn(cost, epsilon=0.05).sum(), cost)


CASES: dict[str, Callable[[], Call]] = {
    "n = 256": lambda: solve(256),
    "n = 512": lambda: solve(512),
    "n = 1024": lambda: solve(1024),
    "256 x (32 x 32), forward and backward": lambda: batch(256, 32),
}
QUICK: dict[str, Callable[[], Call]] = {"n = 256": lambda: solve(256), "8 x (8 x 8)": lambda: batch(8, 8)}


def operations(n: int) -> dict[str, Call]:
    """What torch computes just before a solve, on all its threads."""
    x = torch.rand(n, n, requires_grad=True)
    constant = x.detach()
    return {
        "after a matmul": lambda: constant @ constant,
        "after a copy": constant.clone,
        "after an addition": lambda: constant + 1.0,
        "after a backward": lambda: torch.autograd.grad((x * x).sum(), x),
    }


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """A process that computes without end, on the processors of this one."""
    process = subprocess.Popen([sys.executable, "-c", "while 1: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def seconds(call: Call, before: Call | None = None) -> float:
    """One call after two of its kind and what comes between them and it."""
    call()
    call()
    if before is not None:
        before()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def race(make: Callable[[], Call], rounds: int, size: int) -> harness.Record:
    """The seconds of a call in every state: median, quartiles, least and 90th percentile."""
    call, before = make(), operations(size)
    samples: dict[str, list[float]] = {name: [] for name in (ALONE, *AFTER, ONE_THREAD, BESIDE)}
    for _ in range(rounds):
        samples[ALONE].append(seconds(call))
        for name in AFTER:
            samples[name].append(seconds(call, before[name]))
        with harness.threads(1):
            samples[ONE_THREAD].append(seconds(call))
    with busy_process():
        for _ in range(rounds):
            samples[BESIDE].append(seconds(call))
    return {
        name: harness.summarize(values).record()
        | {"least": min(values), "p90": float(np.quantile(values, 0.9))}
        for name, values in samples.items()
    }  # fmt: skip


def missed(record: harness.Record) -> list[str]:
    """The goals that a case does not meet, in words."""
    alone = record[ALONE]["median"]
    out = [
        f"{name}: {record[name]['median'] / alone:.2f} x alone"
        for name in AFTER
        if record[name]["median"] > GOALS["after"] * alone
    ]
    out += [
        f"{name}: 90th percentile {record[name]['p90'] / record[name]['median']:.2f} x the median"
        for name in (ALONE, *AFTER)
        if record[name]["p90"] > GOALS["p90"] * record[name]["median"]
    ]
    ratio = record[BESIDE]["median"] / record[ONE_THREAD]["median"]
    return out + ([f"{BESIDE}: {ratio:.2f} x one thread"] if ratio > GOALS["beside"] else [])


def show(content: harness.Record) -> None:
    for name, record in content["records"].items():
        if "error" in record:
            print(f"{name}: {record['error']}")
            continue
        print(f"{name}, {content['setting']['threads']} threads, ms: least, median, 90th percentile; x alone")
        for state in (ALONE, *AFTER, ONE_THREAD, BESIDE):
            least, median, p90 = (1e3 * record[state][key] for key in ("least", "median", "p90"))
            ratio = record[state]["median"] / record[ALONE]["median"]
            print(f"  {state:24s}{least:9.3f}{median:9.3f}{p90:9.3f}{ratio:8.2f}")
        if content["goals"]:
            print("  goals:", "; ".join(missed(record)) or "met")


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.in_company",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--quick", action="store_true", help="few cases, few rounds: does it work?")
    line.add_argument("--threads", type=int, default=2, help="of torch and the solver, on as many processors")
    line.add_argument("--rounds", type=int, help="default 200, quick 3")
    line.add_argument("--save", action="store_true", help="keep the JSON as results/in-company-cpu-<date>.json")
    line.add_argument("--partial", type=Path, default=Path("results/in-company.json"), metavar="FILE")
    options = line.parse_args(argv)
    cases, rounds = (QUICK, options.rounds or 3) if options.quick else (CASES, options.rounds or 200)
    size = 1000  # of the operands of torch's operations
    setting = {"threads": options.threads, "rounds": rounds, "cases": [*cases], "operands": size}
    head = {
        "benchmark": "in_company",
        "date": str(datetime.date.today()),
        "machine": harness.machine(),
        "goals": {} if options.quick else GOALS,
    }
    store = harness.Store(options.partial, head, setting)
    with harness.pinned(options.threads), harness.threads(options.threads):
        tasks = [harness.Task(name, lambda _, make=make: race(make, rounds, size)) for name, make in cases.items()]
        if not harness.run_tasks(tasks, store, quiet=True):
            return 130
    store.finish()
    show(store.content)
    if options.save:
        target = HERE / "results" / f"in-company-cpu-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    if any("error" in record for record in store.records.values()):
        return 1
    return 0 if options.quick or not any(missed(record) for record in store.records.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
