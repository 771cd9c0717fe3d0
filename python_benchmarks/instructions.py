"""Instructions that the CPU solver executes, counted under callgrind: a number that repeats on a noisy machine.

python -m python_benchmarks.instructions            # count; beside the baseline of this compiler where there is one
python -m python_benchmarks.instructions --check    # exit code 1 where a case needs over 5 % more than the baseline
python -m python_benchmarks.instructions --take     # make what was counted the baseline of this compiler

The driver python_benchmarks/native/instructions.cpp is linked to csrc/cpu with the flags of CMakeLists.txt and run on
one thread with the kernels of the widest instruction set that valgrind knows (AVX2; it has no AVX-512). A baseline
holds for one compiler version; counts also move a little with the C library, whose exp and log are counted too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from python_benchmarks import _harness as harness
from python_benchmarks import sanitize

HERE = Path(__file__).resolve().parent
DRIVER = HERE / "native" / "instructions.cpp"
RESULTS = HERE / "results"
PHASES = ("forward", "backward")
LIMIT = 0.05  # relative growth from which the check fails
ISA = "avx2"
ENVIRONMENT = {"WBM_MAX_ISA": ISA, "OMP_NUM_THREADS": "1"}


def compiler_version() -> str:
    """E.g. "g++ 12.2.0"."""
    path = sanitize.compiler()
    done = subprocess.run([path, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=True)
    return f"{Path(path).name} {done.stdout.split()[0]}"


def valgrind() -> str:
    """Path of valgrind.

    Raises
    ------
    FileNotFoundError
        It is not installed.
    """
    path = shutil.which("valgrind")
    if path is None:
        raise FileNotFoundError("no valgrind on the PATH; install it, e.g. apt-get install valgrind")
    return path


def baseline_path(compiler: str) -> Path:
    return RESULTS / f"instructions-{compiler.replace(' ', '-')}.json"


def cases(driver: Path) -> list[str]:
    """``<case> <phase>`` for each problem of the driver."""
    done = subprocess.run([str(driver), "list"], capture_output=True, text=True, check=True)
    return [f"{name} {phase}" for name in done.stdout.split() for phase in PHASES]


def total(profile: str) -> int:
    """Instructions executed, from the text of a callgrind profile."""
    found = re.search(r"^(?:totals|summary): (\d+)", profile, flags=re.MULTILINE)
    if found is None or int(found[1]) == 0:
        raise RuntimeError("callgrind counted nothing: the driver's function 'measured' was not entered")
    return int(found[1])


def count(driver: Path, case: str) -> harness.Record:
    """Instructions of one case inside the driver's ``measured``, with its iterations and residual.

    Raises
    ------
    RuntimeError
        The solve did not converge, or callgrind failed; with what they printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        command = [
            valgrind(), "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=measured",
            f"--callgrind-out-file={profile}", str(driver), *case.split(),
        ]  # fmt: skip
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{case}: exit code {done.returncode}\n{done.stdout}{done.stderr[-2000:]}")
        instructions = total(profile.read_text())
    _, iterations, _, residual = done.stdout.split()
    return {"instructions": instructions, "iterations": int(iterations), "residual": float(residual)}


def measure(chosen: Iterable[str] = (), quiet: bool = False) -> harness.Record:
    """Build the driver and count its cases: all, or those whose name begins with one of ``chosen``."""
    path = valgrind()
    driver = sanitize.build("none", source=DRIVER, level="-O3")
    names = [name for name in cases(driver) if not chosen or name.startswith(tuple(chosen))]
    if not names:
        raise ValueError(f"no case begins with {', '.join(chosen)}; there are {', '.join(cases(driver))}")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with ThreadPoolExecutor(len(harness.cores(4))) as pool:
        counts = list(
            tqdm(pool.map(partial(count, driver), names), total=len(names), disable=quiet, dynamic_ncols=True)
        )
    return {
        "benchmark": "instructions",
        "compiler": compiler_version(),
        "valgrind": version.removeprefix("valgrind-"),
        "library": " ".join(platform.libc_ver()),
        "kernels": ISA,
        "cases": dict(zip(names, counts, strict=True)),
    }


def grown(new: harness.Record, old: harness.Record, limit: float = LIMIT) -> list[str]:
    """Cases that need more instructions than ``old`` by over ``limit``, or that ``old`` does not know, in words."""
    lines = []
    for name, record in new["cases"].items():
        before = old["cases"].get(name)
        if before is None:
            lines.append(f"{name}: not in the baseline; take it anew with --take")
        elif record["instructions"] > (1 + limit) * before["instructions"]:
            change = record["instructions"] / before["instructions"] - 1
            lines.append(f"{name}: {change:+.1%}, {before['instructions']:,} -> {record['instructions']:,}")
    return lines


def show(new: harness.Record, old: harness.Record | None) -> None:
    print(f"{new['compiler']}, valgrind {new['valgrind']}, {new['library']}, {new['kernels']} kernels, one thread")
    for name, record in new["cases"].items():
        before = (old or {"cases": {}})["cases"].get(name)
        change = f"{record['instructions'] / before['instructions'] - 1:+8.2%}" if before else ""
        print(f"{name:<30} {record['instructions']:>15,} {change:>9}   {record['iterations']} iterations")


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.instructions",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--check", action="store_true", help=f"fail above {LIMIT:+.0%} of the baseline")
    line.add_argument("--take", action="store_true", help="write the baseline of this compiler version")
    line.add_argument("--only", action="append", default=[], metavar="CASE", help="cases that begin so")
    line.add_argument("--out", type=Path, metavar="FILE", help="write the counts as JSON")
    options = line.parse_args(argv)
    if options.take and (options.only or options.check):
        line.error("--take writes every case: give it neither --only nor --check")
    path = baseline_path(compiler_version())
    old = json.loads(path.read_text()) if path.exists() else None
    if options.check and old is None:
        known = ", ".join(sorted(p.stem.removeprefix("instructions-") for p in RESULTS.glob("instructions-*.json")))
        print(f"no baseline for {compiler_version()} (there is: {known or 'none'}); make one with --take")
        return 2
    new = measure(options.only)
    show(new, old)
    if options.out:
        harness.write_json(options.out, new)
    if options.take:
        harness.write_json(path, new)
        print("wrote", path.relative_to(HERE.parent))
    if not options.check or old is None:
        return 0
    lines = grown(new, old)
    print("\n".join([f"{len(lines)} cases above {LIMIT:+.0%} of the baseline", *lines] if lines else ["within limits"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
