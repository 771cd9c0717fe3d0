"""The CUDA kernels under compute-sanitizer, over the test problems of ``checks.py``, forward and backward.

    python -m python_benchmarks.gpu.sanitize            # memcheck, racecheck, synccheck, one after another
    python -m python_benchmarks.gpu.sanitize racecheck --seed 7

compute-sanitizer comes with the CUDA toolkit. Torch's pool of memory is off, so that memcheck sees each tensor's ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from python_benchmarks.gpu import device as gpu

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("memcheck", "racecheck", "synccheck")
FOUND = 99  # exit code of compute-sanitizer when it has something to say


def program() -> str | None:
    """compute-sanitizer from the PATH, else from CUDA_HOME."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=str(Path(home) / "bin"))


def command(sanitizer: str, tool: str, seed: int | None) -> list[str]:
    """The whole command line of one tool."""
    chosen = [] if seed is None else ["--seed", str(seed)]
    return [
        sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "20",
        sys.executable, "-m", "python_benchmarks.gpu.checks", "--sanitized", *chosen,
    ]  # fmt: skip


def finished(line: list[str], environment: dict[str, str], limit: float) -> int:
    """The exit code; after ``limit`` seconds the sanitizer is killed together with what it has started."""
    child = subprocess.Popen(line, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return child.wait(limit)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def main(argv: list[str] | None = None) -> int:
    """0 when every check was right and no tool had anything to say."""
    parser = argparse.ArgumentParser(
        prog="python -m python_benchmarks.gpu.sanitize", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(TOOLS)}, initcheck; default the three")
    parser.add_argument("--minutes", type=float, default=10.0, help="of all tools together; default 10")
    parser.add_argument("--seed", type=int, default=None, help="of the random problems; default: a new one each time")
    options = parser.parse_args(argv)
    if unknown := set(options.tools) - {*TOOLS, "initcheck"}:
        parser.error(f"TOOL must be one of {', '.join(TOOLS)}, initcheck, got {', '.join(sorted(unknown))}")
    if reason := gpu.missing():
        print(reason, file=sys.stderr)
        return gpu.ABSENT
    sanitizer = program()
    if sanitizer is None:
        print("no GPU run: compute-sanitizer is neither on the PATH nor under CUDA_HOME/bin", file=sys.stderr)
        return gpu.ABSENT
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    wrong, tools = 0, options.tools or TOOLS
    for tool in tools:
        limit = 60 * options.minutes / len(tools)
        try:
            code = finished(command(sanitizer, tool, options.seed), environment, limit)
            verdict = {0: "clean", FOUND: "reports above"}.get(code, f"exit code {code}")
        except subprocess.TimeoutExpired:
            code, verdict = 1, f"no end within {limit:.0f} s, killed; nothing above is nothing found up to there"
        print(f"{tool}: {verdict}", flush=True)
        wrong += code != 0
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
