"""The CUDA solver on this machine's GPU: correctness in float64 first, then times against their goals.

    python -m python_benchmarks.gpu                 # everything; writes results/gpu-<device>-<date>.json
    python -m python_benchmarks.gpu --out DIR --minutes 6
    python -m python_benchmarks.gpu --quick         # small sizes, short timings, nothing kept
    python -m python_benchmarks.gpu --checks-only

Exit code 0: all checks right and all goals met; 1: not; 2: no GPU here. Records are written after every
check and time. A failed check cancels no time: the time says how many checks of its size have failed, and does not
count as met. A check or a timing that takes the device with it, or that never ends, is recorded as such; the others go
on.
"""

from __future__ import annotations

import argparse
import datetime
import secrets
import sys
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks import supervised
from python_benchmarks.gpu import checks
from python_benchmarks.gpu import device as gpu

HERE = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m python_benchmarks.gpu",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("--quick", action="store_true", help="small sizes, short timings, no file: does it work?")
    found.add_argument("--checks-only", action="store_true", help="no times")
    found.add_argument("--seed", type=int, default=None, help="of all random data; default: a new one, kept")
    found.add_argument("--budget", type=float, default=1.0, help="seconds for the repeats of one timing; quick 0.1")
    found.add_argument("--out", type=Path, default=None, metavar="DIR",
                       help="folder of results and records; default python_benchmarks/results")  # fmt: skip
    found.add_argument("--minutes", type=float, default=6.0, help="when the last one may begin; default 6")
    found.add_argument("--limit", type=float, default=120.0, help="seconds that one may take; default 120")
    found.add_argument("--partial", type=Path, default=None, metavar="FILE",
                       help="where records are kept meanwhile; default gpu.json in DIR, else in results/")  # fmt: skip
    return found


def work(options: argparse.Namespace) -> int:
    """All checks and timings of this process; see ``supervised``."""
    from python_benchmarks.gpu import times

    settings = times.Settings(0.1 if options.quick else options.budget, options.quick, options.seed)
    tasks = [*checks.tasks(options.seed, options.quick), *([] if options.checks_only else times.tasks(settings))]
    machine = harness.machine(["triton"]) | gpu.describe()
    command = f"python -m python_benchmarks.gpu --seed {options.seed} --budget {options.budget:g}"
    head = {"benchmark": "gpu", "date": str(datetime.date.today()), "machine": machine, "commit": harness.commit(),
            "command": command, "seed": options.seed}  # fmt: skip
    setting = {"quick": options.quick, "checks_only": options.checks_only, "seed": options.seed, "gpu": machine["gpu"]}
    store = harness.Store(options.partial, head, setting)
    try:
        whole = harness.run_tasks(
            tasks, store, deadline=supervised.deadline(), marks=True, lost=supervised.device_is_lost
        )
    except harness.Lost:
        return supervised.LOST
    if not whole:
        print(
            "interrupted: the records so far are kept; the same command with the printed --seed goes on",
            file=sys.stderr,
        )
        return 130
    for task in harness.unfinished(tasks, store):
        if task.key not in store.records:
            store.put(task.key, {"error": "not run: no time left (--minutes)"})
    store.content["records"] = {task.key: store.records[task.key] for task in tasks}
    store.finish()
    return summary(store, options)


def summary(store: harness.Store, options: argparse.Namespace) -> int:
    """The checks, then a line a timing; the file; the exit code."""
    of_checks = {key: record for key, record in store.records.items() if key.startswith("check|")}
    wrong = [text for key, record in of_checks.items() if (text := checks.verdict(key.split("|")[1], record))]
    right = checks.report(wrong, len(of_checks), options.seed)
    timings = {key: record for key, record in store.records.items() if key not in of_checks}
    if timings:
        from python_benchmarks.gpu import times

        for key, record in timings.items():
            print(times.line(key, record))
    if not (options.quick or options.checks_only):
        name = f"gpu-{gpu.short_name(store.content['machine']['gpu'])}-{datetime.date.today()}.json"
        target = (options.out or HERE / "results") / name
        harness.write_json(target, store.content)
        print("wrote", target)
    return 0 if right and all(record.get("met") for record in timings.values()) else 1


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(given)
    if options.seed is None:
        options.seed = secrets.randbelow(2**31)
    if options.partial is None:
        options.partial = (options.out or HERE.parent / "results") / "gpu.json"
    options.partial.parent.mkdir(parents=True, exist_ok=True)
    if supervised.is_child():
        return work(options)
    if reason := gpu.missing():
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    print(f"seed {options.seed}", flush=True)
    command = [sys.executable, "-m", "python_benchmarks.gpu", *given, "--seed", str(options.seed)]
    return supervised.run(command, options.partial, options.minutes, options.limit)


if __name__ == "__main__":
    sys.exit(main())
