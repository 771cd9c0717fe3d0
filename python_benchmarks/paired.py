"""Two builds beside each other, in turns: tight solves, point clouds at an absolute ε, plain iterations, one call.

    python -m python_benchmarks.paired --against /path/to/other/python
    python -m python_benchmarks.paired --against /path/to/other/python --only "eps=0.01" --threads 1 --save
    python -m python_benchmarks.paired                                   # this build alone

Each round starts a process of either interpreter, which times all cases; the processes take turns, and a ratio is one
of neighbours (other over this: above 1 this build is faster). This checkout's benchmarks run on both; only ``wbm_ext``
is the interpreter's own. Cases:

- ``tight``: clouds in 32 dimensions, ε in units of mean(D), float64 to residual 1e-9, with the exponent of growth in n;
- ``points``: GeomLoss's own setting, x = randn(n, 3), y = randn(n, 3) + 1, ε = .005 absolute (its default blur .05):
  the divergence and its gradient in x to 1e-6, beside ``SamplesLoss`` (tensorized), and how far either value is from
  that of a solve to 1e-9;
- ``iterations``: 100 plain ones, float32; ``call``: 4 x 4 from Python, without and with gradient.

What a solve costs after an operation of torch or beside a busy process: ``python -m python_benchmarks.in_company``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from python_benchmarks import _harness as harness
from python_benchmarks._problems import clouds

HERE = Path(__file__).resolve().parent
EPSILON, BLUR = 0.005, 0.05  # of the point clouds: ε = 2 blur², for GeomLoss halves the squared distance
GEOMLOSS = "GeomLoss SamplesLoss"
SIZES = {"tight": (64, 256, 512, 1024, 2048, 4096), "points": (200, 500, 1000, 2000), "iterations": (256, 1024, 4096)}
QUICK = {"tight": (32, 64), "points": (50,), "iterations": (64,)}
GROWTH = 256  # n from which the exponent is taken


def tight(n: int, relative: float) -> Callable[[], object]:
    import wbm_ext

    problem = clouds(n, relative, 0, "float64")
    D = torch.from_numpy(problem.D)
    return lambda: wbm_ext.solve(D, epsilon=problem.epsilon, tol=1e-9, max_iter=100_000)


def points(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(100)
    x, y = (torch.randn(n, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    return x.requires_grad_(), y + 1


def divergence(n: int, tol: float = 1e-6) -> Callable[[], float]:
    """Value of the divergence, its gradient computed."""
    from wbm_ext.losses import sinkhorn_divergence

    x, y = points(n)

    def call() -> float:
        value = sinkhorn_divergence(x, y, epsilon=EPSILON, tol=tol, max_iter=100_000)
        torch.autograd.grad(value, x)
        return float(value.detach())

    return call


def samples_loss(n: int) -> Callable[[], float]:
    from geomloss import SamplesLoss

    x, y = points(n)
    loss = SamplesLoss("sinkhorn", p=2, blur=BLUR, backend="tensorized")

    def call() -> float:
        value = 2 * loss(x, y)
        torch.autograd.grad(value, x)
        return float(value.detach())

    return call


def plain(n: int) -> Callable[[], object]:
    import wbm_ext

    problem = clouds(n, 0.05)
    D = torch.from_numpy(problem.D)
    return lambda: wbm_ext.solve(D, epsilon=problem.epsilon, tol=0.0, max_iter=100, method="sinkhorn")


def small(gradient: bool) -> Callable[[], object]:
    import wbm_ext

    D = torch.from_numpy(clouds(4, 0.05).D).requires_grad_(gradient)
    if not gradient:
        return lambda: wbm_ext.sinkhorn(D, epsilon=1.0)
    return lambda: torch.autograd.grad(wbm_ext.sinkhorn(D, epsilon=1.0), D)


def cases(sizes: dict[str, tuple[int, ...]], peers: bool) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
    """Key, and what prepares the call; ``peers``: the other library's too."""
    for relative in (0.05, 0.01, 0.003):
        for n in sizes["tight"]:
            yield f"tight, eps={relative:g}, n={n}", lambda n=n, relative=relative: tight(n, relative)
    for n in sizes["points"]:
        yield f"points, n={n}", lambda n=n: divergence(n)
        if peers:
            yield f"points, n={n}, {GEOMLOSS}", lambda n=n: samples_loss(n)
    for n in sizes["iterations"]:
        yield f"iterations, n={n}", lambda n=n: plain(n)
    for name in ("call, no gradient", "call, forward and backward"):
        yield name, lambda name=name: small("backward" in name)


def time_all(options: argparse.Namespace) -> dict[str, harness.Record]:
    """Every case of this process: seconds, and of the point clouds how far the value is off."""
    found: dict[str, harness.Record] = {}
    truth: dict[str, float] = {}
    warnings.simplefilter("ignore")
    for count in options.threads:
        with harness.threads(count):
            for key, prepare in cases(QUICK if options.quick else SIZES, options.peers):
                if options.only and not any(text in key for text in options.only):
                    continue
                call = prepare()
                seconds = harness.measure(call, options.seconds, least=3)
                record: harness.Record = {"seconds": seconds.median}
                if key.startswith("points") and options.peers:
                    n = int(key.split("n=")[1].split(",")[0])
                    exact = truth.setdefault(str(n), divergence(n, 1e-9)())
                    record["error"] = abs(float(call()) / exact - 1)  # type: ignore[arg-type]
                found[f"{key}, {count} thread{'s' * (count > 1)}"] = record
    return found


def child(python: str, options: argparse.Namespace, peers: bool) -> dict[str, harness.Record]:
    """The cases in a process of that interpreter, with the benchmarks of this checkout."""
    words = ["--child", "--threads", ",".join(map(str, options.threads)), "--seconds", str(options.seconds)]
    words += [word for text in options.only for word in ("--only", text)]
    words += ["--quick"] * options.quick + ["--peers"] * peers
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / HERE.name).symlink_to(HERE)
        command = [python, "-m", f"{HERE.name}.paired", *words]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{python}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarised(rounds: list[tuple[dict[str, harness.Record], dict[str, harness.Record]]]) -> dict[str, harness.Record]:
    """Median seconds of either build, and the median and range of the ratios of neighbours."""
    records: dict[str, harness.Record] = {}
    for key, first in rounds[0][0].items():
        mine = [this[key]["seconds"] for this, _ in rounds]
        record: harness.Record = {"seconds": statistics.median(mine)}
        record |= {"error": first["error"]} if "error" in first else {}
        other = [there[key]["seconds"] for _, there in rounds if key in there]
        if other:
            ratios = [b / a for a, b in zip(mine, other, strict=True)]
            record |= {"other": statistics.median(other), "ratio": statistics.median(ratios)}
            record |= {"low": min(ratios), "high": max(ratios)}
        records[key] = record
    return records


def exponents(records: dict[str, harness.Record]) -> dict[str, float]:
    """Slope of log seconds over log n of the tight solves, from ``GROWTH`` on."""
    series: dict[str, list[tuple[float, float]]] = {}
    for key, record in records.items():
        if key.startswith("tight"):
            kind, epsilon, size, threads = key.split(", ")
            if int(size[2:]) >= GROWTH:
                series.setdefault(f"{kind}, {epsilon}, {threads}", []).append(
                    (math.log(int(size[2:])), math.log(record["seconds"]))
                )
    return {name: float(np.polyfit(*zip(*line, strict=True), 1)[0]) for name, line in series.items() if len(line) > 1}


def show(content: harness.Record) -> None:
    print(f"{'case':58s}{'this, ms':>12s}{'other, ms':>12s}{'other/this':>12s}{'range':>16s}{'value off':>11s}")
    for key, r in content["records"].items():
        other = f"{1e3 * r['other']:12.3f}{r['ratio']:12.2f}{r['low']:9.2f} - {r['high']:.2f}" if "other" in r else ""
        print(f"{key:58s}{1e3 * r['seconds']:12.3f}{other:40s}" + (f"{r['error']:11.1e}" if "error" in r else ""))
    for name, value in content["exponents"].items():
        print(f"{name}: seconds grow as n^{value:.2f} from n = {GROWTH}")


def main(argv: list[str] | None = None) -> int:
    def counts(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.paired",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--against", metavar="PYTHON", help="interpreter that has the other build")
    line.add_argument("--threads", type=counts, default=(1, 2), metavar="N,N", help="default 1,2")
    line.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases with this in their name")
    line.add_argument("--rounds", type=int, default=3)
    line.add_argument("--seconds", type=float, default=0.3, help="for the repeats of one timing")
    line.add_argument("--quick", action="store_true", help="small sizes: does it work?")
    line.add_argument("--save", action="store_true", help="keep the JSON as results/paired-cpu-<date>.json")
    for hidden in ("--child", "--peers"):
        line.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    options = line.parse_args(argv)
    if options.child:
        print(json.dumps(time_all(options)))
        return 0
    rounds = []
    for index in range(options.rounds):
        peers = index == 0 and bool(harness.version("geomloss"))  # the peer's times and the errors, once
        this = child(sys.executable, options, peers)
        rounds.append((this, child(options.against, options, False) if options.against else {}))
        rounds[-1][0].update({key: rounds[0][0][key] for key in rounds[0][0] if key not in this})
    records = summarised(rounds)
    content: harness.Record = {
        "benchmark": "paired",
        "date": str(datetime.date.today()),
        "machine": harness.machine(("geomloss",)),
        "commit": harness.commit(),
        "setting": {"threads": options.threads, "rounds": options.rounds, "seconds": options.seconds},
        "records": records,
        "exponents": exponents(records),
    }
    show(content)
    if options.save:
        target = HERE / "results" / f"paired-cpu-{datetime.date.today()}.json"
        harness.write_json(target, content)
        print("wrote", target.relative_to(HERE.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
