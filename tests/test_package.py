"""The package as an installed thing: what importing it loads, what the module links, which way imports run."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wbm_ext
from wbm_ext import _core

ROOT = Path(wbm_ext.__file__).parent

# A room may import those in its list, and nothing runs back.
LEAVES = {"errors", "parameters", "_version", "_native"}
MAY_IMPORT = {
    "solver": LEAVES,
    "losses": LEAVES | {"solver"},
    "datasets": LEAVES,
    "metrics": LEAVES | {"datasets", "losses"},
    "persistence": LEAVES,
    "training": LEAVES | {"persistence"},
    "plots": LEAVES,
    "ite": LEAVES | {"losses", "solver", "training", "datasets", "metrics", "persistence"},
    "recommender": LEAVES | {"losses", "persistence", "training", "datasets", "metrics"},
    "cli": LEAVES
    | {"recommender", "ite", "plots", "datasets", "metrics", "losses", "persistence", "solver", "training"},
}


def _run(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**os.environ, **environment}, text=True, capture_output=True, check=True
    ).stdout.strip()


def _imported(path: Path) -> set[str]:
    """Top rooms of wbm_ext that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "wbm_ext" else [node.module]
            )
        found |= {name.split(".")[1] for name in names if name.startswith("wbm_ext.")}
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_run_one_way(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        surplus = _imported(path) - MAY_IMPORT[room] - {room}
        assert not surplus, f"{path.relative_to(ROOT)} imports {surplus}"


def test_every_room_has_a_rule():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == set(MAY_IMPORT)


def test_importing_loads_solver_and_losses_only():
    code = (
        "import sys, json, wbm_ext; wbm_ext.losses.wbm; "
        "print(json.dumps([m for m in ('sklearn', 'pandas', 'matplotlib', 'typer', 'scipy', "
        "'wbm_ext.recommender', 'wbm_ext.datasets') if m in sys.modules]))"
    )
    assert json.loads(_run(code)) == []


def test_one_openmp_runtime_after_import():
    code = (
        "import wbm_ext, torch; wbm_ext.sinkhorn(torch.rand(300, 300)); "
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'gomp' in line or 'libomp' in line})"
    )
    assert len(_run(code).split()) == 1


def test_the_module_links_neither_torch_nor_the_cuda_runtime_nor_openmp():
    readelf = shutil.which("readelf")
    assert readelf, "binutils come with the compiler that built the module"
    out = subprocess.run([readelf, "-d", _core.__file__], text=True, capture_output=True, check=True).stdout
    needed = [line for line in out.splitlines() if "NEEDED" in line]
    assert any("libstdc++" in line for line in needed)
    others = ("torch", "c10", "cudart", "libcuda", "gomp", "libomp")
    assert not [line for line in needed if any(word in line for word in others)]


def test_it_imports_where_there_is_no_driver():
    info = wbm_ext.build_info()
    assert info["cuda_devices"] >= 0
    assert info["cpu_kernels"] in {"baseline", "avx2", "avx512"}


def test_every_public_name_resolves():
    for name in wbm_ext.__all__:
        assert getattr(wbm_ext, name) is not None
    assert set(wbm_ext.__all__) <= set(dir(wbm_ext))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = wbm_ext.nonsense


def test_a_missing_module_says_what_to_do():
    code = (
        "import sys; sys.modules['wbm_ext._core'] = None\n"
        "try:\n    import wbm_ext; wbm_ext.sinkhorn\nexcept ImportError as error:\n    print(error)"
    )
    assert "pip install -e ." in _run(code)


def test_metadata_and_module_agree_on_the_version():
    from importlib.metadata import version

    assert version("wbm_ext") == wbm_ext.__version__


def test_public_functions_have_docstrings_with_a_unit_of_meaning():
    for function in (wbm_ext.solve, wbm_ext.sinkhorn, wbm_ext.losses.wbm, wbm_ext.losses.squared_distances):
        for section in ("Parameters", "Returns", "Examples"):
            assert section in function.__doc__
