"""The CPU solver under the compiler's sanitizers, driven by tests/native/driver.cpp: no Python, no torch.

python -m python_benchmarks.sanitize            # address and undefined behaviour in one build, then data races
python -m python_benchmarks.sanitize thread     # one of address, undefined, thread

Sources and flags are those of CMakeLists.txt: kernels*.cpp once per instruction set, the others once. The driver runs
with the plainest kernels and with the widest ones of this machine. Objects stay under build/native and are compiled
again when a source or header is newer.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "native"
DRIVER = ROOT / "tests" / "native" / "driver.cpp"
SANITIZERS = {
    "none": [],
    "address": ["-fsanitize=address"],
    "undefined": ["-fsanitize=undefined", "-fno-sanitize-recover=all"],
    "address,undefined": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
ALL = ("address,undefined", "thread")
OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1",
}


@dataclass(frozen=True)
class Unit:
    """One object file: a source and the flags that are its own."""

    source: Path
    flags: tuple[str, ...]


@dataclass
class Outcome:
    """A run of the driver."""

    kernels: str
    returncode: int
    output: str
    seconds: float

    @property
    def summary(self) -> str:
        lines = [line for line in self.output.splitlines() if "failures" in line]
        return lines[-1] if lines else "the driver did not finish"


def compiler() -> str:
    """The C++ compiler: CXX, else g++."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no C++ compiler {name!r} on the PATH; install g++ or set CXX")
    return path


def units(driver: Path = DRIVER) -> list[Unit]:
    """A driver and the solver's sources with the flags that CMakeLists.txt gives them."""
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"set\(WBM_CPU_FLAGS ([^)]*)\)", text)
    kernels = re.findall(r"^\s*wbm_kernels\((\w+)([^)]*)\)", text, flags=re.MULTILINE)
    if found is None or not kernels:
        raise RuntimeError("CMakeLists.txt no longer holds WBM_CPU_FLAGS and wbm_kernels(<set> <flags>)")
    shared = tuple(found[1].split())
    x86 = platform.machine() in ("x86_64", "AMD64")
    if not x86:
        kernels = [(isa, flags) for isa, flags in kernels if isa == "baseline"]
    out = [Unit(driver, ())]
    for source in sorted((ROOT / "csrc" / "cpu").rglob("*.cpp")):
        if source.parent.name == "kernels" and source.name != "dispatch.cpp":
            out += [Unit(source, (*shared, *flags.split(), f"-DWBM_ISA={isa}")) for isa, flags in kernels]
        else:
            out.append(Unit(source, (*shared, *(["-DWBM_X86"] if x86 else []))))
    return out


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def build(sanitizer: str, jobs: int | None = None, source: Path = DRIVER, level: str = "-O1") -> Path:
    """Compile what is out of date and link ``source`` to the solver; returns the driver's path.

    Raises
    ------
    RuntimeError
        With the compiler's messages.
    """
    cxx, folder = compiler(), BUILD / sanitizer.replace(",", "-")
    folder.mkdir(parents=True, exist_ok=True)
    flags = [
        "-std=c++17", level, "-Wall", "-Wextra", "-Wno-psabi", "-pthread", f"-I{ROOT / 'csrc'}",
        *(["-g", "-fno-omit-frame-pointer", *SANITIZERS[sanitizer]] if sanitizer != "none" else []),
    ]  # fmt: skip
    newest_header = max(path.stat().st_mtime for path in (ROOT / "csrc").rglob("*.h"))

    def compile_unit(unit: Unit) -> Path:
        command = [cxx, *flags, *unit.flags, "-c", str(unit.source)]
        target = folder / f"{unit.source.stem}-{hashlib.sha256(' '.join(command).encode()).hexdigest()[:12]}.o"
        if not target.exists() or target.stat().st_mtime < max(newest_header, unit.source.stat().st_mtime):
            started = target.with_suffix(f".{os.getpid()}.part")  # no half object under its name when interrupted
            _call([*command, "-o", str(started)])
            started.replace(target)
        return target

    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        objects = [str(path) for path in pool.map(compile_unit, units(source))]
    driver = folder / source.stem
    _call([cxx, *SANITIZERS[sanitizer], *objects, "-pthread", "-o", str(driver)])
    return driver


def execute(driver: Path, kernels: str, timeout: float = 600.0) -> Outcome:
    """Run the driver with the kernels of one instruction set ("native": the widest of this machine)."""
    environment = {**os.environ, **OPTIONS}
    environment.pop("WBM_MAX_ISA", None)
    if kernels != "native":
        environment["WBM_MAX_ISA"] = kernels
    races = driver.parent.name == "thread"
    command = [str(driver), *(["threads"] if races else [])]
    if races and shutil.which("setarch"):
        command = ["setarch", platform.machine(), "-R", *command]  # its shadow memory wants addresses not randomised
    begin = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )
    return Outcome(kernels, done.returncode, done.stdout + done.stderr, time.perf_counter() - begin)


def main(argv: list[str] | None = None) -> int:
    """Build and run; 0 when every case passed and no sanitizer had anything to say."""
    parser = argparse.ArgumentParser(prog="python -m python_benchmarks.sanitize", description=__doc__.splitlines()[0])
    parser.add_argument(
        "sanitizer", nargs="?", default="all", choices=("all", "none", "address", "undefined", "thread")
    )
    parser.add_argument("--jobs", type=int, default=None, help="compilers side by side (default: one a core)")
    arguments = parser.parse_args(argv)
    wrong = 0
    for sanitizer in ALL if arguments.sanitizer == "all" else (arguments.sanitizer,):
        begin = time.perf_counter()
        driver = build(sanitizer, arguments.jobs)
        print(f"{sanitizer}: built in {time.perf_counter() - begin:.0f} s", flush=True)
        for kernels in ("baseline", "native"):
            outcome = execute(driver, kernels)
            verdict = "clean" if outcome.returncode == 0 else f"exit code {outcome.returncode}"
            print(f"{sanitizer}, {kernels} kernels: {verdict}, {outcome.summary}, {outcome.seconds:.1f} s", flush=True)
            if outcome.returncode:
                wrong += 1
                print("\n".join(line for line in outcome.output.splitlines() if not line.startswith("ok ")))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
