"""``import wbm_ext`` changes nothing but ``sys.modules``: no thread, no flag, no device memory, little time."""

from __future__ import annotations

import json
import math
import subprocess
import sys

BUDGET, RUNS = 0.3, 8
"""Seconds beyond torch's own import; of how many runs the best counts, for a busy machine slows some of them."""

STATE = """
import json, os, random, signal, sys, threading, time, warnings
import numpy, torch
torch.get_num_threads()  # starts nothing, but is lazy

def state():
    return {
        "threads of the process": len(os.listdir("/proc/self/task")),
        "threads": threading.active_count(),
        "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
        "num_threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "cudnn": [torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic],
        "flush denormal": float(torch.tensor([1e-40]) * 1.0) != 0,
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "print options": repr(torch._tensor_str.PRINT_OPTS),
        "torch random": torch.random.get_rng_state().sum().item(),
        "numpy random": int(numpy.random.get_state()[1].sum()),
        "python random": hash(random.getstate()),
        "numpy errors": numpy.geterr(),
        "warnings": repr(warnings.filters),
        "signals": [repr(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "cuda started": torch.cuda.is_initialized(),
        "cuda context": "/dev/nvidia" in " ".join(
            os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
        ),
    }

before = state()
start = time.perf_counter()
import wbm_ext
wbm_ext.losses.wbm, wbm_ext.sinkhorn
seconds = time.perf_counter() - start
after = state()
print(json.dumps({
    "changed": {name: [before[name], after[name]] for name in before if before[name] != after[name]},
    "seconds": seconds,
    "stdout": "clean",
}))
"""


def imported() -> dict:
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return json.loads(done.stdout)  # anything else that was printed would not parse


def test_import_changes_no_state_of_the_process():
    assert imported()["changed"] == {}


def test_import_takes_little_beside_torch():
    best = math.inf
    for _ in range(RUNS):
        best = min(best, imported()["seconds"])
        if best < BUDGET:
            break
    assert best < BUDGET


def test_import_reads_no_network_and_starts_no_process():
    code = (
        "import sys, torch; seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(event) if event.startswith(\n"
        "    ('socket.', 'subprocess.', 'os.system', 'os.fork', 'os.posix_spawn', 'urllib.')) else None)\n"
        "import wbm_ext, wbm_ext.recommender, wbm_ext.datasets, wbm_ext.cli\nprint(seen)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"
