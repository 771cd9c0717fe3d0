"""What one large problem needs beside its matrix: seconds and memory of a forward and of a forward with gradient.

    python -m python_benchmarks.large_problem [--size 8192] [--mode implicit --mode frozen] [--threads N]

D is size x size in float32, squared distances of uniform points in the unit cube, made block by block; epsilon is 0.05.
Each mode runs in a process of its own, whose high-water mark of memory is reset before each call (Linux only). The CPU
solver keeps the matrix in memory: there is no streamed one yet, so D, its gradient and the working memory told here
have to fit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

import wbm_ext
from python_benchmarks import _harness as harness
from python_benchmarks.peers.memory_probe import MIB, kibibytes

EPSILON, BLOCK, MODES = 0.05, 256, ("implicit", "frozen")


def matrix(size: int) -> torch.Tensor:
    """Squared distances of two sets of uniform points in the unit cube, float32 (size, size)."""
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(size, 3, generator=draw) for _ in range(2))
    D = torch.empty(size, size)
    for start in range(0, size, BLOCK):
        D[start : start + BLOCK] = torch.cdist(x[start : start + BLOCK], y).square_()
    return D


def probe(size: int, mode: str) -> harness.Record:
    """Seconds, and MiB at the peak beyond D, of a forward and of a forward and backward."""
    wbm_ext.sinkhorn(matrix(16).requires_grad_(), epsilon=EPSILON, grad=mode).backward()  # what stays anyway
    D = matrix(size)
    record: harness.Record = {"size": size, "mode": mode, "matrix_mib": D.nbytes / 1024 / MIB}
    for what in ("forward", "gradient"):
        before = kibibytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        if what == "forward":
            result = wbm_ext.solve(D, epsilon=EPSILON, grad=mode)
            record |= {"iterations": int(result.iterations), "residual": float(result.residual)}
        else:
            wbm_ext.sinkhorn(D.requires_grad_(), epsilon=EPSILON, grad=mode).backward()
        record[f"{what}_seconds"] = time.perf_counter() - start
        record[f"{what}_mib"] = (kibibytes("VmHWM") - before) / MIB
    return record


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.large_problem",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--size", type=int, default=8192, help="rows and columns")
    line.add_argument("--mode", action="append", choices=MODES, help="of the gradient; repeatable; default: both")
    line.add_argument("--threads", type=int, default=None, help="default: as torch has it")
    line.add_argument("--probe", action="store_true", help="run here, and print JSON")
    options = line.parse_args(argv)
    if options.size < 1:
        line.error(f"--size must be at least 1; got {options.size}")
    if options.probe:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        print(json.dumps([probe(options.size, mode) for mode in options.mode or MODES]))
        return 0
    for mode in options.mode or MODES:
        words = [sys.executable, "-m", "python_benchmarks.large_problem", "--probe", "--mode", mode]
        words += ["--size", str(options.size)]
        words += [] if options.threads is None else ["--threads", str(options.threads)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        (record,) = json.loads(done.stdout)
        print(
            f"{mode}: D {record['matrix_mib']:.0f} MiB; forward {record['forward_seconds']:.2f} s and "
            f"{record['forward_mib']:.0f} MiB, with gradient {record['gradient_seconds']:.2f} s and "
            f"{record['gradient_mib']:.0f} MiB (its gradient is {record['matrix_mib']:.0f}); "
            f"{record['iterations']} iterations, residual {record['residual']:.1e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
