"""This solver beside its peers on the CPU: medians with quartiles, every result checked in float64 before it is timed.

    pip install -e .[bench]
    python -m python_benchmarks.peers --device cpu                     # everything, one to two hours on two cores
    python -m python_benchmarks.peers --quick                          # small sizes, a minute or two
    python -m python_benchmarks.peers --section iterations --sizes 256,1024 --only "POT sinkhorn,"
    python -m python_benchmarks.peers --section iterations --save --plot peers.png --against old.json

An interrupted run (Ctrl-C) keeps what it has; the same command goes on from there. A rebuilt module starts anew.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks.peers import batches, own, safeguard, single, table
from python_benchmarks.peers.loaded import load, packages
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.subjects import Limits

HERE = Path(__file__).resolve().parents[1]
SECTIONS: dict[str, Callable[[Options], list[harness.Task]]] = {
    "iterations": single.iterations,
    "bandwidth": single.bandwidth,
    "latency": own.latency,
    "threads": own.two_threads,
    "backward": own.backward,
    "memory": own.memory,
    "batch": batches.batch,
    "tight": single.tight,
    "safeguard": safeguard.safeguard,
}


def numbers(text: str) -> tuple[int, ...]:
    """Comma-separated positive integers."""
    values = tuple(int(part) for part in text.split(","))
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"expected positive integers, got {text!r}")
    return values


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.peers",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--device", choices=["cpu"], default="cpu")
    line.add_argument(
        "--section", action="append", choices=[*SECTIONS], help="may be given more than once; default all"
    )
    line.add_argument("--quick", action="store_true", help="small sizes, short timings: does it work?")
    line.add_argument(
        "--sizes", type=numbers, default=(), metavar="N,N", help="n of iterations, bandwidth, tight, backward"
    )
    line.add_argument("--only", action="append", default=[], metavar="TEXT", help="only peers with this in their name")
    line.add_argument("--threads", type=numbers, default=(1, 2), metavar="N,N", help="peers run with the largest")
    line.add_argument("--seeds", type=int, help="of the section tight; default 8, quick 1")
    line.add_argument("--budget", type=float, help="seconds for the repeats of one timing; default 1, quick 0.1")
    line.add_argument("--cap", type=float, help="seconds that one call of a peer may last; default 20, quick 2")
    line.add_argument("--save", action="store_true", help="keep the JSON as results/peers-cpu-<date>.json")
    line.add_argument("--plot", type=Path, metavar="FILE", help="draw the times over n")
    line.add_argument("--against", type=harness.earlier, metavar="FILE", help="ratios to an earlier result")
    line.add_argument("--partial", type=Path, metavar="FILE", help="where records are kept meanwhile")
    return line


def left_out() -> list[str]:
    """One line for each package that takes no part, with the reason."""
    single_peers, batch_peers = load()
    return sorted({reason for p in single_peers + batch_peers if (reason := p.absent())})


def main(argv: list[str] | None = None) -> int:
    line = parser().parse_args(argv)
    chosen = line.section or [*SECTIONS]
    limits = Limits(
        budget=line.budget or (0.1 if line.quick else 1.0),
        cap=line.cap or (2.0 if line.quick else 20.0),
    )
    seeds = line.seeds or (1 if line.quick else 8)
    options = Options(line.quick, line.sizes, tuple(line.only), line.threads, seeds, limits)
    path = line.partial or HERE.parent / "results" / ("peers-cpu-quick.json" if line.quick else "peers-cpu.json")
    head = {
        "benchmark": "peers",
        "date": str(datetime.date.today()),
        "machine": harness.machine(packages()),
        "left_out": left_out(),
    }
    versions = head["machine"]["versions"]
    store = harness.Store(path, head, {"sections": sorted(chosen), "versions": versions} | options.setting())
    if store.resumed:
        print(f"going on from {store.resumed} records of an interrupted run")
    tasks = [task for name in SECTIONS if name in chosen for task in SECTIONS[name](options)]
    whole = harness.run_tasks(tasks, store)
    if whole:
        store.finish()
    table.show(store.content)
    if line.against:
        table.show_comparison(harness.compare(store.content, line.against))
    if not whole:
        print("interrupted: the records so far are kept, the same command goes on from here", file=sys.stderr)
        return 130
    if line.save:
        target = HERE / "results" / f"peers-cpu-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    if line.plot:
        from python_benchmarks.peers.plot import draw

        draw(store.content, line.plot)
        print("wrote", line.plot)
    return 1 if any("error" in record for record in store.records.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
