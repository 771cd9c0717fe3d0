"""Peak memory of one unrolled forward and backward: ``python -m python_benchmarks.peers.memory_probe n iterations``.

Prints JSON. Linux only: the high-water mark of the resident set is reset before the call (``/proc/self/clear_refs``).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch

import wbm_ext
from python_benchmarks._problems import clouds

MIB = 1024.0


def kibibytes(field: str) -> int:
    """VmRSS (now) or VmHWM (highest) of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def probe(n: int, iterations: int) -> dict[str, float]:
    """MiB that the call needed at its peak beyond D and dD."""

    def call(D: torch.Tensor, epsilon: float, count: int) -> None:
        wbm_ext.sinkhorn(D, epsilon=epsilon, grad="unrolled", tol=0, max_iter=count).backward()

    small = clouds(16, 0.05)
    call(torch.from_numpy(small.D).requires_grad_(), small.epsilon, 10)  # pools and code that stay anyway
    problem = clouds(n, 0.05)
    D = torch.from_numpy(problem.D).requires_grad_()
    clouds.cache_clear()
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    call(D, problem.epsilon, iterations)
    peak = kibibytes("VmHWM")
    gradient = D.grad.nbytes / 1024 if D.grad is not None else 0.0
    return {"extra_mib": (peak - before - gradient) / MIB, "matrix_mib": D.nbytes / 1024 / MIB}


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), int(sys.argv[2]))))
