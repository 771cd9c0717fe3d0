"""A long solve answers Ctrl-C within a second."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import signal, torch, wbm_ext
signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner started in the background hands down "ignore"
torch.set_num_threads(1)
PROBLEM
print("ready", flush=True)
try:
    SOLVE
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(float(wbm_ext.sinkhorn(torch.zeros(2, 2) + 1)))  # and the next solve is whole
"""

PLAIN = (
    "D = torch.rand(600, 600, dtype=torch.float64)",
    "wbm_ext.solve(D, epsilon=1e-3, tol=0, max_iter=10_000_000)",
)
NEWTON = (  # annealing, factors and Newton steps, again and again
    "D = (torch.randn(2500, 1, 16) - torch.randn(2500, 16)).square().sum(2).double()",
    "[wbm_ext.solve(D, epsilon=0.05, tol=1e-9, max_iter=100_000) for _ in range(1000)]",
)


@pytest.mark.parametrize(("problem", "solve"), [PLAIN, NEWTON], ids=["plain iterations", "newton steps"])
def test_an_interrupt_ends_the_solve(problem, solve):
    script = SCRIPT.replace("PROBLEM", problem).replace("SOLVE", solve)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(
            timeout=20
        )  # generous: a busy machine must not fail it; the solve itself lasts hours
    finally:
        process.kill()
    assert out.split() == ["interrupted", "1.0"]
    assert process.returncode == 0
