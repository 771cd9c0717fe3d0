"""What tests compile, made once for the same sources and command: workers share it, and so do runs (``build/tests``)."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "tests"


@lru_cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout


@lru_cache
def _content(folder: Path) -> bytes:
    """Hash of every source and header below a folder, with its place there."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".h", ".cuh", ".cpp", ".cu")):
        total.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.digest()


def built(command: list[str], folders: Iterable[Path], suffix: str) -> tuple[Path, str]:
    """The file that ``command`` with ``-o FILE`` behind it makes, and what the compiler printed.

    The key is the command, the compiler's version and the content of the sources below ``folders``. A second worker
    waits for the first; a command that fails raises with what it printed, and leaves nothing.
    """
    key = hashlib.sha256("\0".join([*command, _version(command[0])]).encode())
    for folder in folders:
        key.update(_content(folder))
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / f"{key.hexdigest()[:24]}{suffix}"
    printed = target.with_name(f"{target.name}.txt")
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target.exists() and printed.exists()):
            partial = target.with_name(f"part-{target.name}")
            done = subprocess.run([*command, "-o", str(partial)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise AssertionError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
            printed.write_text(done.stdout + done.stderr)
            partial.replace(target)
    return target, printed.read_text()
