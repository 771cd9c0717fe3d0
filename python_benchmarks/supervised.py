"""A run in a child process that may lose tasks, not the run: what kills the process or never ends is recorded as such.

A kernel that fails takes the whole CUDA context of its process with it, and one that hangs the process itself. The
child writes into its store which task it is at (``harness.run_tasks`` with ``marks=True``). Where it dies or shows no
progress the task is marked as lost, which is final, and another child goes on with the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from python_benchmarks import _harness as harness

CHILD = "WBM_SUPERVISED"  # in the environment of the child
END = "WBM_SUPERVISED_END"  # the wall-clock time from which no task begins
LOST = 70  # exit code of a child whose device has failed
INTERRUPTED = 130  # and of one that was told to stop (Ctrl-C)
POLL = 0.2


def is_child() -> bool:
    return CHILD in os.environ


def deadline() -> float:
    """Of ``time.monotonic()``: when the last task may begin; never outside a supervised run."""
    end = os.environ.get(END)
    return float("inf") if end is None else time.monotonic() + float(end) - time.time()


def device_is_lost() -> bool:
    """Whether an error has taken the CUDA context with it."""
    import torch

    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _lose(partial: Path, reason: str) -> bool:
    """Mark the task that was under way as lost; False where none was."""
    try:
        content = json.loads(partial.read_text())
        key = content.pop("running")
    except (OSError, ValueError, KeyError):
        return False
    content["records"][key] = {"error": reason, "final": True}
    harness.write_json(partial, content)
    return True


def _wait(child: subprocess.Popen[bytes], partial: Path, limit: float) -> int | None:
    """The child's exit code; None where it was killed after ``limit`` seconds without a word in its store."""
    begin = time.time()
    while True:
        try:
            return child.wait(POLL)
        except subprocess.TimeoutExpired:
            last = partial.stat().st_mtime if partial.exists() else 0.0
            if time.time() - max(begin, last) > limit:
                child.kill()
                child.wait()
                return None
        except KeyboardInterrupt:  # the child has it too, and keeps its records
            return child.wait()


def run(command: list[str], partial: Path, minutes: float, limit: float) -> int:
    """Run ``command`` until all its tasks are done, lost or out of time; its exit code."""
    environment = {**os.environ, CHILD: "1", END: str(time.time() + 60 * minutes)}
    while True:
        code = _wait(subprocess.Popen(command, env=environment), partial, limit)
        if code in (0, 1, 2, INTERRUPTED):
            return code
        if code is None:
            reason = f"no end within {limit:.0f} s, killed"
        else:
            reason = "the device failed" if code == LOST else f"the process died, exit code {code}"
        if not _lose(partial, reason) and code != LOST:
            print(f"outside any task: {reason}", file=sys.stderr)
            return 1
