"""Running time of the balancing metric: WBM Fig. 6, ESCFR Table 3, peers, and the limits of this machine.

    pip install -e .[bench]
    python -m python_benchmarks.complexity                       # everything
    python -m python_benchmarks.complexity --dry-run             # how long that will take
    python -m python_benchmarks.complexity --budget 20           # no cell begins after 20 minutes; the rest is named
    python -m python_benchmarks.complexity --quick               # few sizes, under two minutes
    python -m python_benchmarks.complexity --section wbm --section goal
    python -m python_benchmarks.complexity --against old/complexity.json

Writes a folder with the JSON of every sample, a CSV, plots and one self-contained page (index.html). Cells run in order
of importance, the long ones last. An interrupted run (Ctrl-C), or one that a budget cut, keeps its finished cells in
cells.jsonl; the same command goes on from there, with any budget. A rebuilt module starts anew.
Exits with 1 where a cell failed or its result was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

import wbm_ext
from python_benchmarks import _harness as harness
from python_benchmarks.complexity import contest, limits, metric, page, transport
from python_benchmarks.complexity.growth import verdicts
from python_benchmarks.complexity.options import Options
from python_benchmarks.peers.loaded import packages
from python_benchmarks.peers.table import outcome, seconds, show_comparison
from wbm_ext.parameters import check_number

SECTIONS: dict[str, Callable[[Options], list[harness.Task]]] = {
    "goal": metric.goals,
    "limits": lambda options: limits.machine(options) + limits.shares(options),
    "wbm": metric.figure,
    "escfr": transport.table,
    "peers": contest.tasks,
}  # in order of importance
LONG = 10.0  # seconds expected of a cell from which it runs after all shorter ones


def found_devices() -> tuple[str, ...]:
    """The CPU, and CUDA where torch and the compiled module both have it."""
    cuda = torch.cuda.is_available() and wbm_ext.build_info()["cuda_architectures"] is not None
    return ("cpu", "cuda") if cuda else ("cpu",)


def parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.complexity",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--quick", action="store_true", help="few sizes and short samples, under two minutes")
    line.add_argument(
        "--section", action="append", choices=[*SECTIONS], help="may be given more than once; default all"
    )
    line.add_argument("--device", choices=["cpu", "cuda"], help="default: whatever is found")
    line.add_argument("--threads", type=int, help="threads and cores of the CPU; default 2, or as many as there are")
    line.add_argument("--no-pin", action="store_true", help="leave the threads to the system's scheduler")
    line.add_argument("--budget", type=float, metavar="MINUTES", help="begin no cell after this time; name what is cut")
    line.add_argument("--dry-run", action="store_true", help="print how long the run will take, and end")
    line.add_argument("--out", type=Path, metavar="FOLDER", help="default results/complexity, or -quick")
    line.add_argument("--against", type=harness.earlier, metavar="FILE", help="ratios to an earlier complexity.json")
    return line


def chosen(line: argparse.Namespace) -> Options:
    """Options from the command line.

    Raises
    ------
    ValueError
        A device that is not there; threads below 1 or more than the cores this process may use; a budget of 0 or less.
    """
    check_number("--budget", line.budget, above=0, optional=True)
    devices, most = found_devices(), len(harness.cores(10**6))
    if line.device and line.device not in devices:
        raise ValueError(f"--device {line.device} is not there: found {', '.join(devices)}")
    count = min(2, most) if line.threads is None else line.threads
    if not 1 <= count <= most:
        raise ValueError(f"--threads must be from 1 to {most}, the cores this process may use, got {count}")
    options = Options(devices=(line.device,) if line.device else devices, threads=count)
    return options.quick() if line.quick else options


def repeat(line: argparse.Namespace) -> str:
    """The command that measures the same again, without the paths of this run."""
    words = ["python", "-m", "python_benchmarks.complexity", *(["--quick"] if line.quick else [])]
    for name in line.section or ():
        words += ["--section", name]
    words += ["--device", line.device] if line.device else []
    words += ["--threads", str(line.threads)] if line.threads else []
    words += ["--budget", f"{line.budget:g}"] if line.budget else []
    return " ".join([*words, *(["--no-pin"] if line.no_pin else [])])


def head(options: Options, line: argparse.Namespace) -> harness.Record:
    """What stands in the result beside its records."""
    machine = harness.machine(("scipy", "matplotlib", *packages()))
    if "cuda" in options.devices:
        machine["gpu"] = torch.cuda.get_device_name()
    machine["pinned"] = not line.no_pin
    return {
        "benchmark": "complexity",
        "date": str(datetime.date.today()),
        "commit": harness.commit(),
        "command": repeat(line),
        "quick": line.quick,
        "machine": machine,
        "left_out": contest.left_out(options.devices),
    }


def ordered(tasks: list[harness.Task]) -> list[harness.Task]:
    """As they stand, but long ones after all others: a budget cuts from the end."""
    return sorted(tasks, key=lambda task: task.expected > LONG)


def estimate(tasks: list[harness.Task], store: harness.Store) -> str:
    """How long the open cells will take, section by section."""
    parts = []
    for name in dict.fromkeys(task.key.split("|")[0] for task in tasks):
        parts.append(f"{name} {harness.forecast([t for t in tasks if t.key.startswith(f'{name}|')], store):.0f} s")
    count, minutes = len(harness.unfinished(tasks, store)), harness.forecast(tasks, store) / 60
    return f"{count} of {len(tasks)} cells are open: about {minutes:.1f} min ({', '.join(parts)})"


def show(content: harness.Record, options: Options) -> bool:
    """Goals and what went wrong; True where nothing did."""
    for v in verdicts(content["records"], options):
        value, goal = (seconds(x) if v.unit == "s" else f"{x:.3g}" for x in (v.value, v.goal))
        print(f"{'met   ' if v.met else 'MISSED'}  {v.case}, {v.what}: {value} (goal ≤ {goal})")
    bad = {key: record for key, record in content["records"].items() if "error" in record or "wrong" in record}
    for key, record in bad.items():
        print(f"{key.replace('|', ', ')}: {outcome(record)}")
    for text in content["left_out"]:
        print(f"left out: {text}")
    for text in page.cut(content):
        print(f"cut by the budget of {content['cut']['minutes']:g} min: {text}")
    if remark := harness.noise(content):
        print(f"not quiet: {remark}; do not trust these times")
    return not any(key.split("|")[0] != "peers" or "error" in record for key, record in bad.items())


def main(argv: list[str] | None = None, grid: Callable[[Options], Options] = replace) -> int:
    """Run the command; ``grid`` may put other sizes into the options."""
    begin = time.monotonic()
    arguments = parser()
    line = arguments.parse_args(argv)
    try:
        options = grid(chosen(line))
    except ValueError as error:
        arguments.error(str(error))
    folder = line.out or Path("results") / ("complexity-quick" if line.quick else "complexity")
    sections = [name for name in SECTIONS if name in (line.section or SECTIONS)]
    about = head(options, line)
    setting = options.setting() | {"sections": sections, "pinned": not line.no_pin}
    store = harness.Journal(folder / "cells.jsonl", about, setting | {"versions": about["machine"]["versions"]})
    if store.resumed:
        print(f"going on from {store.resumed} cells of an interrupted run")
    with contextlib.nullcontext() if line.no_pin else harness.pinned(options.threads), harness.threads(options.threads):
        tasks = ordered([task for name in sections for task in SECTIONS[name](options)])
        print(estimate(tasks, store))
        if line.dry_run:
            return 0
        whole = harness.run_tasks(tasks, store, deadline=begin + 60 * (line.budget or math.inf))
    left = [task.key for task in tasks if task.key not in store.records]
    if not left:
        store.finish()
    elif whole:
        store.content["cut"] = {"minutes": line.budget, "cells": left}
    rows = harness.compare(store.content, line.against) if line.against else []
    written = page.write(store.content, options, folder, rows)
    right = show(store.content, options)
    if line.against:
        show_comparison(rows)
    print("wrote", written)
    if not whole:
        print("interrupted: the finished cells are kept, the same command goes on from there", file=sys.stderr)
        return 130
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
