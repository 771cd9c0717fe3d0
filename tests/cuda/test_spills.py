"""Registers, shared memory and spills of the CUDA kernels as ptxas reports them; a register spilled in a hot loop fails.

Compiled for compute capability 9.0 with the flags of CMakeLists.txt; no GPU is needed, only nvcc.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kernel_compiler import FLAGS, ROOT, nvcc

CUDA = ROOT / "csrc" / "cuda"

# Bytes that may be stored and loaded. A whole solve keeps what lives across a sweep, which takes all registers, in memory:
# the place in the batch, touched once a problem. The sweeps themselves, and all else, spill nothing.
ALLOWED = {"solve_by_block": 56, "solve_by_cluster": 80, "solve_by_grid": 64}
HOT = (
    "sweep_held<",
    "sweep_kept<",
    "sweep_long<",
    "sweep_rows<",
    "update_columns<",
    "tally_rows<",
    "log_rows<",
    "finish_log_iteration<",
)


@dataclass(frozen=True)
class Code:
    """One kernel, or one function that a kernel calls; bytes, but registers and shared memory of kernels only."""

    kernel: str
    name: str
    stack: int
    spilled: int
    registers: int | None = None
    shared: int = 0

    @property
    def line(self) -> str:
        bytes_ = f"{self.shared:6d} B shared, {self.stack:4d} B stack, {self.spilled:3d} B spilled"
        return f"{self.registers:4d} registers, {bytes_}  {self.name}"


def demangled(names: list[str]) -> list[str]:
    """As in the source, without namespaces; as they are where there is no c++filt."""
    program = shutil.which("c++filt")
    if program is None or not names:
        return names
    found = subprocess.run([program], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    plain = (re.sub(r"\(.*", "", line.replace("wbm::cuda::", "")) for line in found.splitlines())
    return [re.sub(r"^\w+ (?=\w+<)", "", line) for line in plain]  # without the type it returns


def parse(text: str, names: Callable[[list[str]], list[str]] = demangled) -> list[Code]:
    """What ``ptxas -v`` says: the frame and spills of each function, and of each kernel its registers too."""
    found: list[Code] = []
    kernel = name = ""
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)'", line):
            kernel = match[1]
        elif match := re.search(r"Function properties for (\S+)", line):
            name = match[1]
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, stores, loads = map(int, match.groups())
            found.append(Code(kernel, name, stack, stores + loads))
        elif match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            place = next(k for k in reversed(range(len(found))) if found[k].name == kernel)
            amount = int(shared[1]) if shared else 0
            found[place] = replace(found[place], registers=int(match[1]), shared=amount)
    given = dict(zip(mangled := [code.name for code in found], names(mangled), strict=True))
    return [replace(code, kernel=given[code.kernel], name=given[code.name]) for code in found]


def spills(found: list[Code]) -> list[str]:
    """One line for each function that spills more than it may."""
    return [
        f"{code.name} of {code.kernel}: {code.spilled} bytes spilled"
        for code in found
        if code.spilled > ALLOWED.get(code.name.split("<")[0], 0)
    ]


SAMPLE = """\
ptxas info    : Compiling entry function 'outer' for 'sm_90'
ptxas info    : Function properties for inner
    0 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads
ptxas info    : Function properties for outer
    176 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 176 bytes cumulative stack size, 128 bytes smem
ptxas info    : Compiling entry function 'solve_by_block<float>' for 'sm_90'
ptxas info    : Function properties for solve_by_block<float>
    176 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 127 registers, used 1 barriers
"""


def test_every_spill_is_found() -> None:
    inner, outer, solve = found = parse(SAMPLE, lambda names: names)
    assert (inner.stack, inner.spilled, inner.registers) == (0, 4, None)
    assert (outer.stack, outer.spilled, outer.registers, outer.shared) == (176, 56, 128, 128)
    assert (solve.registers, solve.shared) == (127, 0)
    assert spills(found) == ["inner of outer: 4 bytes spilled", "outer of outer: 56 bytes spilled"]


@dataclass(frozen=True)
class Compiled:
    """A file for compute capability 9.0: what ptxas says, and the PTX."""

    report: str
    ptx: str


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    compiler = nvcc()
    if compiler is None:
        pytest.skip("needs nvcc (CUDACXX, PATH or CUDA_HOME)")

    def compile_file(name: str) -> Compiled:
        folder = tmp_path_factory.mktemp(Path(name).name)
        target = ["-arch=sm_90", "-cubin", "-Xptxas", "-v", "--keep", f"--keep-dir={folder}", f"-I{ROOT / 'csrc'}"]
        command = [compiler, *FLAGS, *target, "-o", str(folder / "kernels.cubin"), str(CUDA / f"{name}.cu")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
        (ptx,) = folder.glob("*.ptx")
        return Compiled(done.stderr, ptx.read_text())

    names = ("solve/forward", "gradient/backward")
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(compile_file, names), strict=True))


@pytest.mark.slow
def test_no_hot_loop_spills(compiled: dict[str, Compiled], record_property: Callable[[str, object], None]) -> None:
    found = [code for file in compiled.values() for code in parse(file.report)]
    kernels = [code for code in found if code.registers is not None]
    lines = sorted({code.name: code.line for code in kernels}.items())  # some are in both files
    record_property("printed", "\n".join(line for _, line in lines))
    assert len(kernels) >= 60
    for name in HOT if shutil.which("c++filt") else ():
        assert any(code.name.startswith(name) for code in found), (
            f"{name} is a function no longer: name what took its place"
        )
    assert spills(found) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["solve/forward", "gradient/backward"])
def test_no_load_goes_past_the_other_blocks(compiled: dict[str, Compiled], name: str) -> None:
    """The blocks of a problem write what the others read: no load may come from the cache that nothing keeps up to date."""
    assert "ld.global.f64" in compiled[name].ptx
    assert "ld.global.nc" not in compiled[name].ptx
