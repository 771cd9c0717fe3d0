"""``--config run.toml``: the options of a command as a file. Every run that writes something writes its own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from wbm_ext._version import __version__
from wbm_ext.cli.outcome import one_sentence
from wbm_ext.errors import check_name, require_extra

HEAD = "# Written by wbm"


def read_run(path: Path) -> dict[str, Any]:
    """Return the tables of a run file.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no run file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error


def take_run(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let the options of a run file stand where the command line has none."""
    if path is None:
        return None
    with one_sentence():
        content = read_run(path)
        name = content.pop("command", ctx.info_name)
        if name != ctx.info_name:
            raise ValueError(f"{path} is a run of 'wbm {name}', not of 'wbm {ctx.info_name}'")
        known = [str(param.name) for param in ctx.command.params if param.name not in ("config", "help")]
        for option in content:
            check_name(f"{path}: option", option, known)
        if isinstance(content.get("parameter"), Mapping):
            content["parameter"] = [_line(*item) for item in content["parameter"].items()]
        ctx.default_map = {**(ctx.default_map or {}), **content}
    return path


def write_run(ctx: typer.Context, path: Path) -> None:
    """Write the options of the running command to ``path``; paths in it stay relative to the working folder."""
    from wbm_ext.persistence import atomic_write

    writer = require_extra("tomli_w", "cli", "writing the run file")
    options: dict[str, Any] = {"command": ctx.info_name}
    for name, value in ctx.params.items():
        if value is None or name in ("config", "parameter"):
            continue
        options[name] = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    parameters = {name: "none" if value is None else value for name, value in settings(ctx.params.get("parameter"))}
    if parameters:
        options["parameter"] = parameters
    head = f"{HEAD} {__version__}; run again from the same folder: wbm {ctx.info_name} --config {path.name}\n"
    text = head + writer.dumps(options)
    atomic_write(path, lambda file: file.write(text.encode()))


def settings(
    given: Sequence[str] | None, option: str = "--parameter", example: str = "epochs=20"
) -> list[tuple[str, Any]]:
    """Return (name, value) of texts ``name=value``; values are TOML, ``none`` is None, other bare words are strings.

    An error names the ``option`` that they were given by, and shows the ``example``.

    >>> settings(["epochs=20", "representation=[60, 60]", "selection=none", "kappa=inf", "scale=standard"])
    [('epochs', 20), ('representation', [60, 60]), ('selection', None), ('kappa', inf), ('scale', 'standard')]
    """
    pairs = []
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"{option} must be name=value, e.g. {example}; got {text!r}")
        pairs.append((name.strip(), _value(value.strip())))
    return pairs


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return None if value == "none" else value


def _line(name: str, value: Any) -> str:
    writer = require_extra("tomli_w", "cli", "reading the run file")
    return f"{name}={writer.dumps({'value': value}).partition('=')[2].strip()}"
