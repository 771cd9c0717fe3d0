"""The CUDA solver on this machine's GPU: correctness in float64 first, then times against their goals.

    python -m python_benchmarks.gpu                 # everything; writes results/gpu-<device>-<date>.json
    python -m python_benchmarks.gpu --quick         # small sizes, short timings, nothing kept
    python -m python_benchmarks.gpu --checks-only

Exit code 0: all checks right and all goals met; 1: not; 2: no GPU here. Nothing is timed when a check fails.
"""

from __future__ import annotations

import argparse
import datetime
import secrets
import sys
from pathlib import Path

from python_benchmarks import _harness as harness
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
    found.add_argument("--partial", type=Path, default=HERE.parent / "results" / "gpu.json", metavar="FILE",
                       help="where records are kept meanwhile")  # fmt: skip
    return found


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if reason := gpu.missing():
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    from python_benchmarks.gpu import times

    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    if not checks.report(seed, options.quick):
        print("nothing is timed: the answers are wrong", file=sys.stderr)
        return 1
    if options.checks_only:
        return 0
    settings = times.Settings(0.1 if options.quick else options.budget, options.quick, seed)
    machine = harness.machine(["triton"]) | gpu.describe()
    command = f"python -m python_benchmarks.gpu --seed {seed} --budget {options.budget:g}"
    head = {"benchmark": "gpu", "date": str(datetime.date.today()), "machine": machine, "commit": harness.commit(),
            "command": command, "seed": seed}  # fmt: skip
    store = harness.Store(options.partial, head, {"quick": options.quick, "seed": seed, "gpu": machine["gpu"]})
    if not harness.run_tasks(times.tasks(settings), store):
        print(
            "interrupted: the records so far are kept; the same command with the printed --seed goes on",
            file=sys.stderr,
        )
        return 130
    store.finish()
    for key, record in store.records.items():
        print(times.line(key, record))
    if not options.quick:
        target = HERE / "results" / f"gpu-{gpu.short_name(machine['gpu'])}-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    return 0 if all(record.get("met") for record in store.records.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
