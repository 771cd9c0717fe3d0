"""The stub of the compiled module says what the module has: names, fields and arguments."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import wbm_ext
from wbm_ext import _core

STUB = ast.parse((Path(wbm_ext.__file__).parent / "_core.pyi").read_text())
CUDA_ONLY = {"cuda_solve", "cuda_workspace_bytes", "cuda_gradient", "cuda_gradient_workspace_bytes"}


def functions(body) -> dict[str, list[str]]:
    """{name: arguments without self} of the functions among statements."""
    found = {node.name: [arg.arg for arg in node.args.args] for node in body if isinstance(node, ast.FunctionDef)}
    return {name: [arg.rstrip("_") for arg in args if arg != "self"] for name, args in found.items()}


def signature(function) -> list[str]:
    """Argument names as pybind11 writes them into the docstring."""
    line = function.__doc__.splitlines()[0]
    return [name for name in re.findall(r"(\w+): ", line[line.index("(") :]) if name != "self"]


def test_every_name_is_in_the_stub_and_the_other_way_round():
    names = {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign) and node.target.id[0] != "_"}
    names |= {node.name for node in STUB.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    module = {name for name in dir(_core) if not name.startswith("_")}
    assert module | CUDA_ONLY == names


@pytest.mark.parametrize("name", sorted(functions(STUB.body)))
def test_functions_have_the_arguments_of_the_stub(name):
    if hasattr(_core, name):
        assert signature(getattr(_core, name)) == functions(STUB.body)[name]
    else:
        assert name in CUDA_ONLY


@pytest.mark.parametrize("node", [node for node in STUB.body if isinstance(node, ast.ClassDef)], ids=lambda n: n.name)
def test_classes_show_the_methods_of_the_stub_and_are_made_by_solves_alone(node):
    kind = getattr(_core, node.name)
    assert {name for name in dir(kind) if not name.startswith("_")} == set(functions(node.body))
    with pytest.raises(TypeError, match="No constructor"):
        kind()
