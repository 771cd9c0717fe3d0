"""The machine code of a compiled kernel: its loops, and what one turn of a loop costs.

Needs ``nvdisasm`` (PyPI: nvidia-cuda-nvdisasm; or a CUDA toolkit), no GPU.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REGISTERS_OF_A_SCHEDULER, SCHEDULERS, WARPS_OF_A_SCHEDULER = 16384, 4, 16
WIDTHS = {".128": 16, ".64": 8, ".U16": 2, ".U8": 1}


def nvdisasm() -> str | None:
    """From the package, else the PATH, else the toolkit."""
    packages = {Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")}
    packages |= {Path(entry) for entry in sys.path if entry.endswith("site-packages")}
    for folder in packages:
        for found in sorted(folder.glob("nvidia/*/bin/nvdisasm")):
            return str(found)
    return shutil.which("nvdisasm") or shutil.which("nvdisasm", path="/usr/local/cuda/bin")


def opcode(line: str) -> str:
    """The instruction without its predicate and operands, e.g. ``FFMA`` or ``MUFU.EX2``."""
    return re.sub(r"^@!?U?P\w+\s+", "", line).split()[0]


def kind(line: str) -> str:
    return opcode(line).split(".")[0]


@dataclass
class Function:
    """One kernel with all that it calls, in the order of memory."""

    name: str
    lines: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def target(self, at: int) -> int | None:
        """Where the branch there goes."""
        found = re.search(r"`\((\.L\w+)\)", self.lines[at]) if kind(self.lines[at]) == "BRA" else None
        return self.labels.get(found[1]) if found else None

    def loops(self) -> Iterator[Loop]:
        """Every backward branch with its body."""
        for at in range(len(self.lines)):
            start = self.target(at)
            if start is not None and start <= at:
                yield Loop(self, start, at + 1)

    def hot_loops(self, of: str = "FFMA", least: int = 16, share: float = 0.0) -> list[Loop]:
        """Innermost loops with at least so many of one kind of instruction, and such a share, in the order of memory.

        Several branches back to one start are one loop: the longest of them.
        """
        longest: dict[int, Loop] = {}
        for loop in self.loops():
            body = loop.body()
            if sum(kind(line) == of for line in body) >= max(least, share * len(body)):
                known = longest.get(loop.start)
                longest[loop.start] = loop if known is None or loop.end > known.end else known
        found = list(longest.values())
        inner = [x for x in found if not any(y is not x and x.start <= y.start and y.end <= x.end for y in found)]
        return sorted(inner, key=lambda loop: loop.start)


@dataclass(frozen=True)
class Loop:
    """Instructions ``start`` to ``end`` of a function."""

    function: Function
    start: int
    end: int

    def rare(self) -> set[int]:
        """Instructions that a forward branch within the loop jumps over: what is not due every turn."""
        found: set[int] = set()
        for at in range(self.start, self.end):
            to = self.function.target(at)
            if self.function.lines[at].startswith("@") and to is not None and at < to < self.end:
                found |= set(range(at + 1, to))
        return found

    def body(self, rare: bool = False) -> list[str]:
        """The instructions of a turn; without what is not due every turn, unless asked for."""
        left_out = set() if rare else self.rare()
        return [self.function.lines[k] for k in range(self.start, self.end) if k not in left_out]

    def counts(self, entries: float) -> dict[str, float]:
        """What one turn costs; ``entries`` of the matrix are worked on by one thread in it."""
        body = self.body()
        many = Counter(kind(line) for line in body)
        return {
            "instructions": len(body),
            "instructions_an_entry": round(len(body) / entries, 3),
            "multiply_adds": many["FFMA"] + many["FMUL"],
            "shuffles": many["SHFL"],
            "special_functions": many["MUFU"],
            "conversions": many["F2F"] + many["F2FP"] + many["I2F"],
            "float64": many["DADD"] + many["DMUL"] + many["DFMA"],
            "block_barriers": many["BAR"],
            "wide_barriers": many["UCGABAR_ARV"] + many["UCGABAR_WAIT"],
            "spills": many["STL"] + many["LDL"],
            "shared_loads": many["LDS"],
            "load_bytes": sum(width(line) for line in body if kind(line) == "LDG"),
            "load_bytes_in_flight": in_flight(body),
        }


def width(line: str) -> int:
    return next((size for text, size in WIDTHS.items() if text in opcode(line)), 4)


def in_flight(body: list[str]) -> int:
    """Bytes that a thread has asked of device memory before it first reads one of them, at most over the body."""
    waiting: dict[str, int] = {}
    most = 0
    for line in body:
        text = re.sub(r"^@!?U?P\w+\s+", "", line)
        operands = text.split(None, 1)[1].split(",") if " " in text else []
        if kind(line) == "LDG":
            registers = re.findall(r"\bR\d+\b", operands[0])
            waiting.update(dict.fromkeys(registers[:1], width(line)))
            most = max(most, sum(waiting.values()))
        elif set(re.findall(r"\bR\d+\b", " ".join(operands[1:]))) & set(waiting):
            waiting.clear()
    return most


def functions(cubin: Path, program: str) -> list[Function]:
    """The kernels of a compiled file."""
    text = subprocess.run([program, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout
    found = []
    for part in re.split(r"\n\s*\.section\s+\.text\.", text)[1:]:
        function = Function(part.split(",")[0].strip().strip('"'))
        for line in part.splitlines():
            if label := re.match(r"(\.L\w+):", line.strip()):
                function.labels[label[1]] = len(function.lines)
            elif code := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
                function.lines.append(code[1])
        found.append(function)
    return found


def blocks_at_once(registers: int, threads: int) -> int:
    """Blocks a multiprocessor has registers for: they are given out by eight, to the warps of each of four schedulers."""
    warps = threads // 32
    of_a_scheduler = min(REGISTERS_OF_A_SCHEDULER // (-(-registers // 8) * 8 * 32), WARPS_OF_A_SCHEDULER)
    return min(of_a_scheduler * SCHEDULERS // warps, 32)
