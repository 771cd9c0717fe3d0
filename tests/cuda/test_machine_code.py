"""What the CUDA compiler made of the kernels: spills as ptxas reports them, and the cost of every hot loop in its machine code.

The counts stand beside what is required and what was counted last (``machine_code.json``): the only evidence of speed where
there is no GPU. Compiled for compute capability 9.0 (the register tiles for 8.0 too) with the flags of CMakeLists.txt; needs
nvcc and nvdisasm, no GPU.

    python tests/cuda/test_machine_code.py      # counts anew and writes machine_code.json
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

import sass
from compiled import built
from kernel_compiler import FLAGS, ROOT, nvcc

CUDA = ROOT / "csrc" / "cuda"

# Bytes that may be stored and loaded. A whole solve keeps what lives across a sweep, which takes all registers, in memory:
# the place in the batch, touched once a problem. The sweeps themselves spill nothing. The tiles have few registers, for the
# sake of many problems a multiprocessor: what opens, prepares, absorbs and refines spills, within these bounds; the
# iterations in them spill nothing, which their budget below counts in the machine code.
ALLOWED = {"solve_by_block": 56, "solve_by_cluster": 80, "solve_by_grid": 64}
ALLOWED |= {"solve_in_registers": 400, "iterate_in_registers": 128, "open_problem": 32, "prepare": 128, "log_step": 480}
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
    """A file for one architecture: what ptxas says, the PTX, and the machine code."""

    report: str
    ptx: str
    cubin: Path


@cache
def compiled(name: str, architecture: str = "sm_90") -> Compiled:
    """``csrc/cuda/<name>.cu``; behind a colon the type of D that it is compiled for."""
    name, _, cost_type = name.partition(":")
    compiler = nvcc()
    if compiler is None:
        pytest.skip("needs nvcc (CUDACXX, PATH or CUDA_HOME)")
    definitions = [f"-DWBM_COST_TYPE={cost_type}"] if cost_type else []
    options = [*FLAGS, *definitions, f"-arch={architecture}", "-ptx", f"-I{ROOT / 'csrc'}"]
    ptx = built([compiler, *options, str(CUDA / f"{name}.cu")], (ROOT / "csrc",), ".ptx")[0]
    assembler = str(Path(compiler).resolve().with_name("ptxas"))
    cubin, report = built([assembler, f"-arch={architecture}", "-v", str(ptx)], (), ".cubin")
    return Compiled(report, ptx.read_text(), cubin)


FILES = (
    "gradient/backward",
    *(f"solve/forward_of_type:{kind}" for kind in ("double", "float", "Half", "Bfloat16")),
    "solve/registers",
)


def compiled_files() -> list[Compiled]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compiled, FILES))


@pytest.mark.slow
def test_no_hot_loop_spills(record_property: Callable[[str, object], None]) -> None:
    found = [code for file in compiled_files() for code in parse(file.report)]
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
@pytest.mark.parametrize("name", FILES)
def test_no_load_goes_past_the_other_blocks(name: str) -> None:
    """The blocks of a problem write what the others read: no load may come from the cache that nothing keeps up to date."""
    assert "ld.global.f64" in compiled(name).ptx
    assert "ld.global.nc" not in compiled(name).ptx


# --- what one turn of a hot loop costs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """Of the iterations in one tile of registers: entries a thread, and what is required."""

    tile: str
    entries: int
    instructions_an_entry: float
    problems: int  # a multiprocessor, by registers
    barriers: int  # of the block, an iteration


TILES = (
    Budget("WarpTileILi4ELi8E", 32, 4.0, 24, 0),
    Budget("WarpTileILi8ELi16E", 128, 3.0, 12, 0),
    Budget("BlockTileILi8ELi8ELi8E", 64, 3.5, 1, 2),
    Budget("BlockTileILi8ELi12ELi12E", 96, 3.5, 1, 2),
    Budget("BlockTileILi14ELi8ELi14E", 196, 3.5, 1, 2),
)
ARCHITECTURES = ("sm_90", "sm_80")
COUNTED = Path(__file__).with_name("machine_code.json")


def count(architecture: str) -> dict[str, dict[str, float]]:
    """The hot loop of each tile, for sides that are hard and for those that are not."""
    file = compiled("solve/registers", architecture)
    program = sass.nvdisasm()
    if program is None:
        pytest.skip("needs nvdisasm (nvidia-cuda-nvdisasm, or a CUDA toolkit)")
    functions = {function.name: function for function in sass.functions(file.cubin, program)}
    kernels = {code.kernel: code for code in parse(file.report, lambda names: names) if code.registers is not None}
    found: dict[str, dict[str, float]] = {}
    for tile in TILES:
        name = next(name for name in functions if tile.tile in name)
        loops = functions[name].hot_loops("FFMA", least=tile.entries, share=0.44)
        assert len(loops) == 2, f"{name}: {len(loops)} loops look like the iteration"
        threads = 32 * (1 if "Warp" in tile.tile else int(tile.tile.split("ELi")[1]))
        registers = kernels[name].registers or 0
        counts = sorted((loop.counts(tile.entries) for loop in loops), key=lambda c: c["special_functions"])
        for kind, one in zip(("hard", "soft"), counts, strict=True):
            found[f"{tile.tile} {kind}"] = one | {
                "registers": registers,
                "problems_a_multiprocessor": sass.blocks_at_once(registers, threads),
            }
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_iteration_costs_no_more_than_its_budget(
    architecture: str, record_property: Callable[[str, object], None]
) -> None:
    found = count(architecture)
    known = json.loads(COUNTED.read_text())[architecture]
    lines = ["required / counted last / counted: instructions an entry; problems; barriers; spills"]
    for budget in TILES:
        for kind in ("hard", "soft"):
            name = f"{budget.tile} {kind}"
            now, before = found[name], known[name]
            lines.append(
                f"{architecture} {name}: {budget.instructions_an_entry} / {before['instructions_an_entry']} / "
                f"{now['instructions_an_entry']}; {budget.problems} / {now['problems_a_multiprocessor']}; "
                f"{budget.barriers} / {now['block_barriers']}; 0 / {now['spills']}"
            )
            assert now["instructions_an_entry"] <= budget.instructions_an_entry, name
            assert now["instructions_an_entry"] <= 1.03 * before["instructions_an_entry"], f"{name}: more than before"
            assert now["problems_a_multiprocessor"] >= budget.problems, name
            assert now["block_barriers"] <= budget.barriers, name
            for nothing in ("spills", "conversions", "float64", "load_bytes"):
                assert now[nothing] == 0, f"{name}: {nothing}"
    record_property("printed", "\n".join(lines))


def test_the_counting_of_a_loop() -> None:
    """A small function: what is jumped over is not counted, nor what is outside; loads before the first use are in flight."""
    lines = ["MOV R1, R2", "LDG.E.128 R4, desc[UR4][R2.64]", "LDG.E.64 R8, desc[UR4][R2.64+0x10]", "FFMA R0, R4, R8, R0",
             "@P0 BRA `(.L_x_2)", "MUFU.EX2 R3, R3", "BAR.SYNC.DEFER_BLOCKING 0x0", "FFMA R0, R1, R1, R0",
             "@!P1 BRA `(.L_x_1)", "EXIT"]  # fmt: skip
    function = sass.Function("f", lines, {".L_x_1": 1, ".L_x_2": 6})
    (loop,) = function.hot_loops("FFMA", least=2)
    found = loop.counts(entries=2)
    assert (loop.start, loop.end, found["instructions"]) == (1, 9, 7)
    assert (found["instructions_an_entry"], found["special_functions"], found["block_barriers"]) == (3.5, 0, 1)
    assert (found["load_bytes"], found["load_bytes_in_flight"]) == (24, 24)
    assert sass.blocks_at_once(168, 32) == 12
    assert sass.blocks_at_once(80, 32) == 24
    assert sass.blocks_at_once(255, 256) == 1


if __name__ == "__main__":
    COUNTED.write_text(json.dumps({name: count(name) for name in ARCHITECTURES}, indent=1) + "\n")
