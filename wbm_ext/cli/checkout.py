"""``wbm bench`` and ``wbm study``: the modules of ``python_benchmarks``, which a checkout has and a wheel has not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import wbm_ext
from wbm_ext.cli.outcome import command, say
from wbm_ext.errors import check_name

BENCHMARKS = (
    "complexity",
    "fits",
    "in_company",
    "instructions",
    "large_problem",
    "peers",
    "training_step",
)
"""What measures time, instructions or iterations; everything else that runs is a study."""
_TOOLS = ("readme", "sanitize")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
Which = Annotated[str | None, typer.Argument(help="Which one; left out, they are listed.")]


@command
def bench(ctx: typer.Context, name: Which = None) -> None:
    """Run a benchmark of the checkout, e.g. wbm bench peers --quick."""
    _run("bench", {key: text for key, text in _modules().items() if key in BENCHMARKS}, name, ctx.args)


@command
def study(ctx: typer.Context, name: Which = None) -> None:
    """Run a study of the checkout, e.g. wbm study balance."""
    _run("study", {key: text for key, text in _modules().items() if key not in BENCHMARKS}, name, ctx.args)


def _folder() -> Path:
    folder = Path(wbm_ext.__file__).resolve().parents[1] / "python_benchmarks"
    if not (folder / "__init__.py").is_file():
        raise FileNotFoundError(
            "benchmarks and studies are no part of the installed package: get the source of version "
            f"{wbm_ext.__version__} (its sdist or repository), 'pip install -e .[bench]' in it, and run this there"
        )
    return folder


def _modules() -> dict[str, str]:
    """Return {name: first line of its text} of what can be run."""
    found = {}
    for path in sorted(_folder().iterdir()):
        main = path / "__main__.py" if path.is_dir() else path
        if path.suffix not in ("", ".py") or path.name.startswith("_") or path.stem in _TOOLS or not main.is_file():
            continue
        text = main.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            found[path.stem] = text.lstrip('r"').partition("\n")[0].strip().rstrip('"')
    return found


def _run(verb: str, modules: dict[str, str], name: str | None, arguments: list[str]) -> None:
    if name in (None, "-h", "--help"):
        say(f"wbm {verb} NAME [OPTIONS]: further options go to it (--help too), the exit code is its own")
        for key, text in modules.items():
            say(f"wbm {verb} {key}: {text}")
        return
    check_name(verb, name, modules)
    root = _folder().parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command_line = [sys.executable, "-m", f"python_benchmarks.{name}", *arguments]
    raise typer.Exit(subprocess.run(command_line, env=environment, check=False).returncode)
