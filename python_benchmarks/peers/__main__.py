"""This solver beside its peers: medians with quartiles, every result checked in float64 before it is timed.

    pip install -e .[bench]
    python -m python_benchmarks.peers --device cpu                     # everything, one to two hours on two cores
    python -m python_benchmarks.peers --device cuda --save             # on this machine's GPU; times between events
    python -m python_benchmarks.peers --quick                          # small sizes, a minute or two
    python -m python_benchmarks.peers --section iterations --sizes 256,1024 --only "POT sinkhorn,"
    python -m python_benchmarks.peers --section iterations --save --plot peers.png --against old.json

On CUDA a subject that takes the device with it, or that never ends, is recorded as such and the others go on; sections
take turns, and none of their subjects begins after --minutes.

An interrupted run (Ctrl-C) keeps what it has; the same command goes on from there (on CUDA with the --seed that was
printed). A rebuilt module starts anew. Exit code 0: all ran; 1: something failed; 2: --device cuda without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks import supervised
from python_benchmarks.gpu import device as gpu
from python_benchmarks.peers import batches, on_cuda, points, ratios, safeguard, single, table
from python_benchmarks.peers.loaded import left_out, packages
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.subjects import Limits

HERE = Path(__file__).resolve().parents[1]
Sections = dict[str, Callable[[Options], list[harness.Task]]]
ON_CPU: Sections = {
    "iterations": single.iterations,
    "bandwidth": single.bandwidth,
    "latency": ratios.latency,
    "threads": ratios.two_threads,
    "backward": ratios.backward,
    "memory": ratios.memory,
    "batch": batches.batch,
    "tight": single.tight,
    "safeguard": safeguard.safeguard,
}
ON_CUDA: Sections = {
    "graph": on_cuda.iterations,
    "residual": on_cuda.residual,
    "points": points.points,
    "batch": batches.batch,
}
SECTIONS = {"cpu": ON_CPU, "cuda": ON_CUDA}


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
    line.add_argument("--device", choices=[*SECTIONS], default="cpu", help="where; default cpu")
    line.add_argument(
        "--section", action="append", choices=[*dict.fromkeys((*ON_CPU, *ON_CUDA))],
        help=f"may be given more than once; default all of the device: on cuda {', '.join(ON_CUDA)}",
    )  # fmt: skip
    line.add_argument("--quick", action="store_true", help="small sizes, short timings: does it work?")
    line.add_argument(
        "--sizes", type=numbers, default=(), metavar="N,N", help="n of single problems, where a section has several"
    )
    line.add_argument("--only", action="append", default=[], metavar="TEXT", help="only peers with this in their name")
    line.add_argument("--threads", type=numbers, default=(1, 2), metavar="N,N", help="peers run with the largest")
    line.add_argument("--seeds", type=int, help="of the section tight; default 8, quick 1")
    line.add_argument("--seed", type=int, help="cuda: of all problems; default: a new one, printed and kept")
    line.add_argument("--budget", type=float, help="seconds for the repeats of one timing; default 1, quick 0.1")
    line.add_argument(
        "--cap", type=float, help="seconds that one call of a peer may last; default 20, quick and cuda 2"
    )
    line.add_argument("--minutes", type=float, default=10.0, help="cuda: when the last subject may begin; default 10")
    line.add_argument("--limit", type=float, default=150.0, help="cuda: seconds that one may take; default 150")
    line.add_argument("--save", action="store_true", help="keep the JSON as results/peers-<device>-<date>.json")
    line.add_argument("--plot", type=Path, metavar="FILE", help="draw the times over n")
    line.add_argument("--against", type=harness.earlier, metavar="FILE", help="ratios to an earlier result")
    line.add_argument("--partial", type=Path, metavar="FILE", help="where records are kept meanwhile")
    return line


def command(line: argparse.Namespace, seed: int) -> str:
    """What to type for these figures again."""
    parts = [f"python -m python_benchmarks.peers --device {line.device}"]
    parts += [f"--section {name}" for name in line.section or []] + ["--quick"] * line.quick
    parts += [f"--sizes {','.join(map(str, line.sizes))}"] if line.sizes else []
    parts += [f'--only "{text}"' for text in line.only]
    return " ".join(parts + ([f"--seed {seed}"] if line.device == "cuda" else []))


def chosen_sections(line: argparse.Namespace) -> Sections:
    """Those asked for, in order.

    Raises
    ------
    ValueError
        One of them is not a section of the device, or a seed is given for the CPU.
    """
    here = SECTIONS[line.device]
    if wrong := [name for name in line.section or [] if name not in here]:
        raise ValueError(f"--section must be one of {', '.join(here)} with --device {line.device}, got {wrong[0]}")
    if line.seed is not None and line.device == "cpu":
        raise ValueError("--seed is for --device cuda; on the CPU the seeds are 0, 1, ... (--seeds)")
    return {name: make for name, make in here.items() if name in (line.section or here)}


def listed(sections: Sections, options: Options) -> tuple[list[harness.Task], list[harness.Task]]:
    """All tasks, section after section; and with the sections taking turns."""
    found = [make(options) for make in sections.values()]
    turns = (task for turn in itertools.zip_longest(*found) for task in turn if task is not None)
    return list(itertools.chain.from_iterable(found)), list(turns)


def main(argv: list[str] | None = None) -> int:
    arguments = parser()
    line = arguments.parse_args(argv)
    try:
        sections = chosen_sections(line)
    except ValueError as error:
        arguments.error(str(error))
    on_cuda = line.device == "cuda"
    if on_cuda and (reason := gpu.missing()):
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    limits = Limits(
        budget=line.budget or (0.1 if line.quick else 1.0),
        cap=line.cap or (2.0 if line.quick or on_cuda else 20.0),
        device=line.device,
    )
    seeds = line.seeds or (1 if line.quick else 8)
    seed = 0 if not on_cuda else secrets.randbelow(2**31) if line.seed is None else line.seed
    quick = "-quick" if line.quick else ""
    path = line.partial or HERE.parent / "results" / f"peers-{line.device}{quick}.json"
    if on_cuda and not supervised.is_child():
        print(f"seed {seed}", flush=True)
        given = sys.argv[1:] if argv is None else argv
        call = [sys.executable, "-m", "python_benchmarks.peers", *given, "--seed", str(seed)]
        return supervised.run(call, path, line.minutes, line.limit)
    options = Options(line.quick, line.sizes, tuple(line.only), line.threads, seeds, seed, limits)
    machine = harness.machine(packages()) | (gpu.describe() if on_cuda else {})
    head = {
        "benchmark": "peers",
        "date": str(datetime.date.today()),
        "machine": machine,
        "commit": harness.commit(),
        "command": command(line, seed),
        "left_out": left_out(line.device),
    }
    setting = {"sections": sorted(sections), "versions": machine["versions"]} | options.setting()
    store = harness.Store(path, head, setting | ({"gpu": machine["gpu"]} if on_cuda else {}))
    if store.resumed:
        print(f"going on from {store.resumed} records of an interrupted run")
    tasks, in_turns = listed(sections, options)
    try:
        whole = harness.run_tasks(
            in_turns if on_cuda else tasks, store, deadline=supervised.deadline(), marks=on_cuda,
            lost=supervised.device_is_lost if on_cuda else lambda: False,
        )  # fmt: skip
    except harness.Lost:
        return supervised.LOST
    if whole:
        late = {task.key: {"skipped": "no time left (--minutes)"} for task in tasks if task.key not in store.records}
        if late:
            print(f"not begun, for lack of time: {', '.join(late).replace('|', ', ')}")
        store.content["records"] = {task.key: (store.records | late)[task.key] for task in tasks}
        store.finish()
    table.show(store.content)
    if line.against:
        table.show_comparison(harness.compare(store.content, line.against))
    if not whole:
        print("interrupted: the records so far are kept, the same command goes on from here", file=sys.stderr)
        return 130
    if line.save:
        device = gpu.short_name(machine["gpu"]) if on_cuda else "cpu"
        target = HERE / "results" / f"peers-{device}-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    if line.plot:
        from python_benchmarks.peers.plot import draw

        draw(store.content, line.plot)
        print("wrote", line.plot)
    return 1 if any("error" in record for record in store.records.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
